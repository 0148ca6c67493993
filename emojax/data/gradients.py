"""Oriented gradients of images: what RLPS-S' policy sees of a face.

Histograms of gradients after Dalal & Triggs 2005, with linear weights between
neighbouring cells and bins, each cell's divided by the energy of four blocks
around it and cut off. They tell a face from half of one, or from none, and know
nothing of a label.
"""

from collections.abc import Mapping

import numpy as np

_CELLS, _BINS = 8, 12
_CUT = 0.4
_AT_ONCE = 500


def describe(images: np.ndarray) -> np.ndarray:
  """Descriptors float32 [N, 768] of uint8 images [N, H, W, C], at least one.

  Colours are averaged.
  """
  parts = (images[i : i + _AT_ONCE] for i in range(0, len(images), _AT_ONCE))
  grey = (part.mean(-1, dtype=np.float32) for part in parts)
  return np.concatenate([_describe(images_NxHxW) for images_NxHxW in grey])


def components(
  values: Mapping[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
  """The first principal components [N, count] of values [N, D] of each part.

  They are those of the part "train", without any label.
  """
  mean = values["train"].mean(0)
  _, basis = np.linalg.eigh(np.cov(values["train"].T))
  last = basis[:, : -count - 1 : -1].astype(np.float32)
  return {part: (of - mean) @ last for part, of in values.items()}


def _describe(images: np.ndarray) -> np.ndarray:
  """Of float32 [N, H, W], from 0 to 255."""
  light = np.sqrt(images / 255)
  padded = np.pad(light, ((0, 0), (1, 1), (1, 1)), mode="edge")
  right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
  down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
  size = np.hypot(right, down)
  bin_ = np.arctan2(down, right) * (_BINS / (2 * np.pi))
  rows, columns = (_cells(n) for n in images.shape[1:])
  histograms = np.stack(
    [rows @ (size * _near(bin_, b)) @ columns.T for b in range(_BINS)], -1
  )
  energy = (histograms**2).sum(-1)
  padded = np.pad(energy, ((0, 0), (1, 1), (1, 1)), mode="edge")
  pairs = padded[:, 1:] + padded[:, :-1]
  block = pairs[:, :, 1:] + pairs[:, :, :-1]
  total = np.zeros_like(histograms)
  for top in (0, 1):
    for left in (0, 1):
      of_block = block[:, top : top + _CELLS, left : left + _CELLS, None]
      total += np.minimum(histograms / np.sqrt(of_block + 1e-3), _CUT)
  return total.reshape(len(images), -1) / 4


def _near(bin_: np.ndarray, centre: int) -> np.ndarray:
  """1 at a bin's centre, 0 at its neighbours', around the circle."""
  distance = np.abs((bin_ - centre + _BINS / 2) % _BINS - _BINS / 2)
  return np.maximum(0, 1 - distance)


def _cells(pixels: int) -> np.ndarray:
  """Weights [8, pixels] of linear interpolation to centres of cells."""
  width = pixels / _CELLS
  centres = (np.arange(_CELLS) + 0.5) * width - 0.5
  distance = np.abs(np.arange(pixels) - centres[:, None]) / width
  return np.maximum(0, 1 - distance).astype(np.float32)
