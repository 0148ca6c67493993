"""Hidden spans against transformers' in distribution, and their bounds."""

import jax
import numpy as np
import pytest
import torch
from transformers.models.wav2vec2 import modeling_wav2vec2

from emojax.encoders import span_masking

LENGTHS = np.array([60, 37, 12, 9, 0])


def draw(num, lengths, probability, width, min_spans):
  keys = jax.random.split(jax.random.key(0), num)
  return np.asarray(
    jax.jit(
      jax.vmap(
        lambda key: span_masking.spans(
          key, lengths, 60, probability, width, min_spans
        )
      )
    )(keys)
  )


@pytest.mark.parametrize(
  ("probability", "width", "min_spans"),
  [(0.3, 10, 0), (0.05, 10, 2), (0.65, 4, 0), (0.5, 1, 0)],
)
def test_as_often_hidden_as_in_transformers(probability, width, min_spans):
  """The same share at each position, and the same spread of the number."""
  lengths = LENGTHS[:3]
  np.random.seed(0)  # noqa: NPY002 - it is what transformers draws from.
  mask = torch.arange(60)[None] < torch.tensor(lengths)[:, None]
  theirs = np.stack(
    [
      modeling_wav2vec2._compute_mask_indices(
        (3, 60), probability, width, mask.long(), min_spans
      )
      for _ in range(3000)
    ]
  )
  # Where a clip gets no span, theirs hides a place in its padding instead.
  theirs &= mask.numpy()
  ours = draw(3000, lengths, probability, width, min_spans)
  # Five standard errors of the difference of two means.
  np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.065)
  for a, b in zip(ours.sum(-1).T, theirs.sum(-1).T, strict=True):
    assert abs(a.mean() - b.mean()) < 0.5
    assert abs(a.std() - b.std()) < 0.4


def test_spans_stay_inside():
  masks = draw(500, LENGTHS, 0.5, 10, 2)
  places = np.arange(60)
  for row, length in enumerate(LENGTHS):
    assert not masks[:, row, places >= length].any()
  assert masks[:, 2].any(axis=-1).all()  # Two at least, where they fit.
  assert not masks[:, 3].any()  # No span fits in nine frames.
  # Every run is at least as long as one span.
  edges = np.diff(np.pad(masks.astype(int), ((0, 0), (0, 0), (1, 1))))
  for row in range(3):
    starts = np.nonzero(edges[:, row] == 1)
    ends = np.nonzero(edges[:, row] == -1)
    assert (ends[1] - starts[1]).min() >= 10
