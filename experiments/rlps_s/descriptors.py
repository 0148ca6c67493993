"""Oriented gradients of faces: what the dense classifier of the study reads.

Histograms of gradients after Dalal & Triggs 2005, with linear weights between
neighbouring cells and bins, each cell's divided by the energy of four blocks
around it and cut off. A fixed first layer: a classifier behind it takes two
seconds where a CNN of the same accuracy takes minutes of a core.
"""

from collections.abc import Mapping

import numpy as np

CELLS, BINS = 8, 12
# Pixels by which training images are moved, beside being mirrored.
MOVES = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))
_CUT = 0.4
_AT_ONCE = 500


def views(images: np.ndarray, moves=MOVES) -> np.ndarray:
  """Descriptors of moved images and their mirror images.

  Args:
    images: uint8 [N, H, W, 1].
    moves: down and to the right; the edge fills what is left.

  Returns:
    float32 [V, N, CELLS * CELLS * BINS], V twice the moves.
  """
  found = []
  for source in (images[..., 0], images[:, :, ::-1, 0]):
    for move in moves:
      moved = _moved(source, *move)
      parts = range(0, len(moved), _AT_ONCE)
      of_parts = [describe(moved[i : i + _AT_ONCE]) for i in parts]
      found.append(np.concatenate(of_parts))
  return np.stack(found)


def scaled(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Views [V, N, D] of the images of each part, around 0 at one scale.

  Mean and scale are the training part's, which alone has moved views.
  """
  found = {
    part: views(of, MOVES if part == "train" else MOVES[:1])
    for part, of in images.items()
  }
  mean, scale = found["train"][0].mean(0), found["train"][0].std()
  return {part: (of - mean) / scale for part, of in found.items()}


def components(
  values: Mapping[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
  """The first principal components [N, count] of values [N, D] of each part.

  They are those of the training part, without any label.
  """
  mean = values["train"].mean(0)
  _, basis = np.linalg.eigh(np.cov(values["train"].T))
  last = basis[:, : -count - 1 : -1].astype(np.float32)
  return {part: (of - mean) @ last for part, of in values.items()}


def describe(images: np.ndarray) -> np.ndarray:
  """Descriptors float32 [N, D] of uint8 images [N, H, W]."""
  light = np.sqrt(images.astype(np.float32) / 255)
  padded = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
  right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
  down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
  size = np.hypot(right, down)
  bin_ = np.arctan2(down, right) * (BINS / (2 * np.pi))
  rows, columns = (_cells(n) for n in images.shape[1:])
  histograms = np.stack(
    [rows @ (size * _near(bin_, b)) @ columns.T for b in range(BINS)], -1
  )
  energy = (histograms**2).sum(-1)
  padded = np.pad(energy, ((0, 0), (1, 1), (1, 1)), mode="edge")
  pairs = padded[:, 1:] + padded[:, :-1]
  block = pairs[:, :, 1:] + pairs[:, :, :-1]
  total = np.zeros_like(histograms)
  for top in (0, 1):
    for left in (0, 1):
      of_block = block[:, top : top + CELLS, left : left + CELLS, None]
      total += np.minimum(histograms / np.sqrt(of_block + 1e-3), _CUT)
  return total.reshape(len(images), -1) / 4


def _near(bin_: np.ndarray, centre: int) -> np.ndarray:
  """1 at a bin's centre, 0 at its neighbours', around the circle."""
  distance = np.abs((bin_ - centre + BINS / 2) % BINS - BINS / 2)
  return np.maximum(0, 1 - distance)


def _cells(pixels: int) -> np.ndarray:
  """Weights [CELLS, pixels] of linear interpolation to centres of cells."""
  width = pixels / CELLS
  centres = (np.arange(CELLS) + 0.5) * width - 0.5
  distance = np.abs(np.arange(pixels) - centres[:, None]) / width
  return np.maximum(0, 1 - distance).astype(np.float32)


def _moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
  most = max(abs(down), abs(right))
  padded = np.pad(images, ((0, 0), (most, most), (most, most)), mode="edge")
  height, width = images.shape[1:]
  top, left = most - down, most - right
  return padded[:, top : top + height, left : left + width]
