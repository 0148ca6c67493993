"""Descriptors of images beside a plain loop, and components beside PCA's."""

import math

import numpy as np
from sklearn.decomposition import PCA

from emojax.data import gradients


def loop(image):
  """Pixel by pixel, cell by cell: [8, 8, 12]."""
  height, width = image.shape
  light = np.sqrt(image / 255)
  histogram = np.zeros((10, 10, 12))  # With an empty cell on each side.

  def at(row, column):
    return light[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]

  def shares(pixel, size):
    """Of the cells, by the distance of the pixel from their centres."""
    centres = [(i + 0.5) * size / 8 - 0.5 for i in range(8)]
    return [max(0, 1 - abs(pixel - c) / (size / 8)) for c in centres]

  for row in range(height):
    for column in range(width):
      right = at(row, column + 1) - at(row, column - 1)
      down = at(row + 1, column) - at(row - 1, column)
      place = math.atan2(down, right) / (2 * math.pi) * 12
      low = math.floor(place)
      for bin_, share in ((low, 1 - place + low), (low + 1, place - low)):
        cells = np.outer(shares(row, height), shares(column, width))
        size = math.hypot(right, down)
        histogram[1:-1, 1:-1, bin_ % 12] += share * size * cells
  energy = (histogram**2).sum(-1)
  found = np.zeros((8, 8, 12))
  for row in range(8):
    for column in range(8):
      for top in (row, row + 1):
        for left in (column, column + 1):
          block = np.pad(energy[1:-1, 1:-1], 1, mode="edge")
          scale = math.sqrt(block[top : top + 2, left : left + 2].sum() + 1e-3)
          cell = histogram[row + 1, column + 1] / scale
          found[row, column] += np.minimum(cell, 0.4) / 4
  return found


def test_descriptors_are_those_of_a_loop():
  images = np.random.default_rng(0).integers(0, 256, (2, 24, 17, 1), np.uint8)
  expected = np.stack([loop(image[..., 0]).ravel() for image in images])
  found = gradients.describe(images)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert found.dtype == np.float32
  # Of grey in colour the same; of one grey nothing.
  coloured = gradients.describe(images.repeat(3, axis=3))
  np.testing.assert_allclose(coloured, found, atol=1e-5)
  assert not gradients.describe(np.full_like(images, 7)).any()


def test_many_images_are_described_as_one_is(monkeypatch):
  images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
  expected = gradients.describe(images)
  monkeypatch.setattr(gradients, "_AT_ONCE", 2)
  np.testing.assert_array_equal(gradients.describe(images), expected)


def test_components_are_those_of_the_training_part():
  rng = np.random.default_rng(0)
  mixed = rng.normal(size=(6, 6))
  train, others = (rng.normal(size=(n, 6)) @ mixed for n in (40, 7))
  found = gradients.components({"train": train, "validation": others}, 2)
  theirs = PCA(2).fit(train)
  for name, values in (("train", train), ("validation", others)):
    expected = theirs.transform(values)
    signs = np.sign(found["train"][0] * theirs.transform(train)[0])
    np.testing.assert_allclose(found[name] * signs, expected, atol=1e-4)
