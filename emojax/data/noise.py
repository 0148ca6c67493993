"""Noise whose truth is known: images cut as in RLPS, and labels changed.

The noise set of Li & Xu (2020, "Deep reinforcement learning for robust
emotional classification in facial expression recognition", section 4.5): of
the training images half show the full face, a quarter half of one, a quarter
none. Validation and test images stay as they are.
"""

from collections.abc import Sequence

import numpy as np

from emojax.errors import UserError

KINDS = ("full", "half", "none")

# What people and classifiers take each emotion for, the most usual first; the
# pairs have action units in common (fear and surprise raise brows and lids,
# anger and disgust lower brows and narrow the eyes).
CONFUSIONS = {
  "angry": ("disgust", "neutral"),
  "contempt": ("neutral", "disgust"),
  "disgust": ("angry", "sad"),
  "fearful": ("surprised", "sad"),
  "happy": ("neutral", "surprised"),
  "neutral": ("sad", "happy"),
  "sad": ("neutral", "angry"),
  "surprised": ("fearful", "happy"),
}


def intercept(
  images: np.ndarray, seed: int, half: float = 0.25, none: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts half faces and no faces out of some of the images.

  The paper "intercepts" regions and shows one example of each. Here a half
  face is the left or the right half of the image. The paper takes "none" from
  beside the face; aligned faces leave nothing beside them, so here it is a
  corner, a quarter high and wide: hair, cheek, neck or background, without
  brow, eye or mouth. Either is brought back to the full size by linear
  interpolation, as a cropped image would be.

  Args:
    images: uint8 [N, H, W, C], H and W at least 8.
    seed: the same one cuts the same.
    half: share of the images that become half faces.
    none: share of the images that lose the face.

  Returns:
    A copy of the images, and int8 [N], the index of each into `KINDS`.
  """
  count, height, width, _ = images.shape
  rng = np.random.default_rng(seed)
  order = rng.permutation(count)
  ends = np.cumsum([round(half * count), round(none * count)])
  of_half, of_none, _ = np.split(order, ends)
  kind_N = np.zeros(count, np.int8)
  kind_N[of_half], kind_N[of_none] = 1, 2

  noisy = np.array(images)
  middle = width // 2
  right = rng.integers(2, size=len(of_half)).astype(bool)
  for rows, columns in (
    (of_half[~right], slice(0, middle)),
    (of_half[right], slice(width - middle, width)),
  ):
    noisy[rows] = _enlarge(images[rows][:, :, columns], height, width)

  tall, wide = height // 4, width // 4
  corner = rng.integers(4, size=len(of_none))
  for which in range(4):
    top = (height - tall) * (which // 2)
    left = (width - wide) * (which % 2)
    rows = of_none[corner == which]
    region = images[rows][:, top : top + tall, left : left + wide]
    noisy[rows] = _enlarge(region, height, width)
  return noisy, kind_N


def symmetric(
  labels: np.ndarray, rate: float, num_classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Gives some faces any other label, all of them equally likely.

  Args:
    labels: int [N], classes from 0.
    rate: share of the labels to change; exact, but for rounding.
    num_classes: K.
    seed: the same one changes the same.

  Returns:
    The labels with noise, int [N], and bool [N], true where they changed.
  """
  rng = np.random.default_rng(seed)
  rows = rng.permutation(len(labels))[: round(rate * len(labels))]
  noisy = np.array(labels)
  shift = rng.integers(1, num_classes, size=len(rows), dtype=noisy.dtype)
  noisy[rows] = (noisy[rows] + shift) % num_classes
  return noisy, noisy != labels


def class_dependent(
  labels: np.ndarray, rate: float, classes: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Gives some faces of each class the label it is most confused with.

  That is the first of `CONFUSIONS` that the study has.

  Args:
    labels: int [N], indices into `classes`.
    rate: share of each class to change; exact, but for rounding.
    classes: the common label of each class.
    seed: the same one changes the same.

  Returns:
    The labels with noise, int [N], and bool [N], true where they changed.

  Raises:
    UserError: a class has none of its confusions in the study.
  """
  rng = np.random.default_rng(seed)
  noisy = np.array(labels)
  for index, name in enumerate(classes):
    rows = rng.permutation(np.flatnonzero(labels == index))
    noisy[rows[: round(rate * len(rows))]] = classes.index(
      _confusion(name, classes)
    )
  return noisy, noisy != labels


def _confusion(name: str, classes: Sequence[str]) -> str:
  likely = CONFUSIONS.get(name, ())
  for other in likely:
    if other in classes:
      return other
  raise UserError(
    f"class-dependent label noise: the study has no class that {name} is "
    f"confused with ({', '.join(likely) or 'none is known'}); add one to "
    "config.data.labels, or use symmetric noise"
  )


def _enlarge(regions: np.ndarray, height: int, width: int) -> np.ndarray:
  """Interpolates uint8 [n, h, w, C] linearly to [n, height, width, C]."""
  rows = _interpolation(regions.shape[1], height)
  columns = _interpolation(regions.shape[2], width)
  # Two products: one sum over both axes would be quadratic in their size.
  tall = np.einsum("Hh,nhwc->nHwc", rows, regions.astype(np.float32))
  whole = np.einsum("Ww,nHwc->nHWc", columns, tall)
  return np.rint(whole).astype(np.uint8)


def _interpolation(old: int, new: int) -> np.ndarray:
  """Weights float32 [new, old] of linear interpolation; pixels have areas."""
  position = (np.arange(new) + 0.5) * old / new - 0.5
  position = np.clip(position, 0, old - 1)
  distance = np.abs(position[:, None] - np.arange(old))
  return np.maximum(1 - distance, 0).astype(np.float32)
