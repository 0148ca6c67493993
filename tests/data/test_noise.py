"""The noise set of RLPS and label noise: counts, pixels, determinism."""

import numpy as np
import pytest
from PIL import Image

from emojax.data import noise
from emojax.errors import UserError

CLASSES = (
  *("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral"),
)


@pytest.fixture
def faces():
  return np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), np.uint8)


def test_the_shares_of_the_paper(faces):
  noisy, kind = noise.intercept(faces, seed=0)
  assert noise.KINDS == ("full", "half", "none")
  assert np.bincount(kind).tolist() == [20, 10, 10]
  assert (noisy.shape, noisy.dtype) == (faces.shape, np.uint8)
  np.testing.assert_array_equal(noisy[kind == 0], faces[kind == 0])
  changed = (noisy != faces).any(axis=(1, 2, 3))
  np.testing.assert_array_equal(changed, kind > 0)


def test_the_same_seed_cuts_the_same(faces):
  original = faces.copy()
  first, kind = noise.intercept(faces, seed=3)
  again, same_kind = noise.intercept(faces, seed=3)
  other, other_kind = noise.intercept(faces, seed=4)
  np.testing.assert_array_equal(again, first)
  np.testing.assert_array_equal(same_kind, kind)
  assert (other_kind != kind).any()
  assert (other != first).any()
  np.testing.assert_array_equal(faces, original)


def _pillow(region):
  return np.asarray(
    Image.fromarray(region).resize((48, 48), Image.Resampling.BILINEAR)
  )


def _is_one_of(image, regions):
  distances = [
    np.abs(image.astype(int) - _pillow(region)).max() for region in regions
  ]
  return min(distances) <= 1  # Pillow rounds after each axis.


def test_halves_and_corners_are_what_pillow_cuts(faces):
  noisy, kind = noise.intercept(faces, seed=0)
  for image, face in zip(noisy[kind == 1], faces[kind == 1], strict=True):
    assert _is_one_of(image, [face[:, :24], face[:, 24:]])
  for image, face in zip(noisy[kind == 2], faces[kind == 2], strict=True):
    corners = [
      face[rows, columns]
      for rows in (slice(12), slice(36, 48))
      for columns in (slice(12), slice(36, 48))
    ]
    assert _is_one_of(image, corners)


def test_other_shares_and_odd_sizes():
  faces = np.random.default_rng(0).integers(0, 256, (10, 21, 17, 1), np.uint8)
  noisy, kind = noise.intercept(faces, seed=0, half=0.0, none=1.0)
  assert noisy.shape == faces.shape
  assert (kind == 2).all()
  noisy, kind = noise.intercept(faces, seed=0, half=0.0, none=0.0)
  np.testing.assert_array_equal(noisy, faces)


def test_flat_images_stay_flat():
  faces = np.arange(0, 256, 5, np.uint8)[:, None, None, None]
  faces = np.broadcast_to(faces, (len(faces), 48, 48, 1))
  np.testing.assert_array_equal(noise.intercept(faces, seed=0)[0], faces)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_symmetric_noise(rate):
  labels = np.random.default_rng(0).integers(0, 7, 7_000)
  noisy = noise.symmetric(labels, rate, 7, seed=0)
  changed = noisy != labels
  assert changed.sum() == round(7_000 * rate)
  assert noisy.dtype == labels.dtype
  # Every other label is equally likely, whatever the true one.
  counts = np.zeros((7, 7))
  np.add.at(counts, (labels[changed], noisy[changed]), 1)
  expected = 7_000 * rate / 42
  off = ~np.eye(7, dtype=bool)
  np.testing.assert_allclose(counts[off], expected, atol=5 * expected**0.5)
  again = noise.symmetric(labels, rate, 7, seed=0)
  np.testing.assert_array_equal(again, noisy)


def test_class_dependent_noise():
  labels = np.repeat(np.arange(7), [100, 10, 50, 400, 200, 80, 300])
  noisy = noise.class_dependent(labels, 0.3, CLASSES, seed=0)
  counts = np.zeros((7, 7), int)
  np.add.at(counts, (labels, noisy), 1)
  pairs = {
    "angry": "disgust",
    "disgust": "angry",
    "fearful": "surprised",
    "surprised": "fearful",
    "happy": "neutral",
    "neutral": "sad",
    "sad": "neutral",
  }
  expected = np.diag(np.bincount(labels))
  for name, other in pairs.items():
    row = CLASSES.index(name)
    moved = round(0.3 * expected[row, row])
    expected[row, row] -= moved
    expected[row, CLASSES.index(other)] += moved
  np.testing.assert_array_equal(counts, expected)
  other = noise.class_dependent(labels, 0.3, CLASSES, seed=1)
  assert (other != noisy).any()


def test_a_class_that_is_confused_with_none_of_the_study():
  labels = np.array([0, 1])
  # The second choice, where the first is missing.
  noisy = noise.class_dependent(labels, 1.0, ("happy", "surprised"), seed=0)
  assert noisy.tolist() == [1, 0]
  with pytest.raises(UserError, match=r"no class that happy .*neutral"):
    noise.class_dependent(labels, 0.3, ("happy", "angry"), seed=0)
