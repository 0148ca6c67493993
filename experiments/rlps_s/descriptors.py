"""Oriented gradients of faces: what the dense classifier of the study reads.

A fixed first layer: a classifier behind it takes two seconds where a CNN of the
same accuracy takes minutes of a core.
"""

from collections.abc import Mapping

import numpy as np

from emojax.data import gradients

# Pixels by which training images are moved, beside being mirrored.
MOVES = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))


def views(images: np.ndarray, moves=MOVES) -> np.ndarray:
  """Descriptors of moved images and their mirror images.

  Args:
    images: uint8 [N, H, W, 1].
    moves: down and to the right; the edge fills what is left.

  Returns:
    float32 [V, N, 768], V twice the moves.
  """
  found = []
  for source in (images[..., 0], images[:, :, ::-1, 0]):
    for move in moves:
      found.append(gradients.describe(_moved(source, *move)[..., None]))
  return np.stack(found)


def scaled(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Views [V, N, D] of the images of each part, around 0 at one scale.

  Mean and scale are the training part's. Only what may be learned from has
  moved views: not the test part.
  """
  found = {
    part: views(of, MOVES if part != "test" else MOVES[:1])
    for part, of in images.items()
  }
  mean, scale = found["train"][0].mean(0), found["train"][0].std()
  return {part: (of - mean) / scale for part, of in found.items()}


def _moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
  most = max(abs(down), abs(right))
  padded = np.pad(images, ((0, 0), (most, most), (most, most)), mode="edge")
  height, width = images.shape[1:]
  top, left = most - down, most - right
  return padded[:, top : top + height, left : left + width]
