"""Batches by length."""

import numpy as np
import pytest

from emojax.encoders import batching


@pytest.mark.parametrize(
  ("lengths", "together", "shapes"),
  [
    (range(1, 49), 4096, [(8, n) for n in (48, 48, 32, 24, 16, 8)]),
    ([9, 1, 12], 4096, [(4, 12)]),
    ([7, 40, 15, 16, 7], 32, [(1, 48), (2, 16), (4, 8)]),
    ([], 4096, []),
  ],
)
def test_few_shapes_that_fit(lengths, together, shapes):
  """Similar lengths run together; very long sequences in smaller batches."""
  batches = batching.by_length(lengths, 8, together)
  assert [(batch.rows, batch.length) for batch in batches] == shapes
  members = [member for batch in batches for member in batch.members]
  assert sorted(members) == list(range(len(lengths)))
  for batch in batches:
    assert len(batch.members) <= batch.rows
    assert max(lengths[member] for member in batch.members) <= batch.length


def test_vectors_come_back_in_order():
  parts = [([2, 0], np.array([[2, 2], [0, 0]])), ([1], np.ones((1, 2)))]
  found = batching.in_order(iter(parts), 3, 2)
  assert found.dtype == np.float32
  assert found.tolist() == [[0, 0], [1, 1], [2, 2]]
