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
  chosen = [row for batch in batches for row in batch.chosen]
  assert sorted(chosen) == list(range(len(lengths)))
  for batch in batches:
    assert len(batch.chosen) <= batch.rows
    assert max(lengths[row] for row in batch.chosen) <= batch.length


def test_vectors_of_empty_sequences_come_first_as_zeros(capsys):
  parts = list(
    batching.vectors(
      [3, 0, 9, 0, 5, 4],
      2,
      2,
      4096,
      lambda batch: np.arange(2.0 * batch.rows).reshape(batch.rows, 2),
      "sequences",
    )
  )
  assert [rows for rows, _ in parts] == [[1, 3], [2, 4], [5, 0]]
  assert not parts[0][1].any()
  for _, vectors in parts[1:]:
    assert vectors.tolist() == [[0, 1], [2, 3]]
  assert "sequences: 2/2" in capsys.readouterr().err
