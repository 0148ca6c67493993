"""Training sets with noise whose truth is known: cut images, changed labels.

N examples of a training part.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from emojax import checks
from emojax.data import clips
from emojax.errors import UserError

NOISE = ("none", "intercepted", "symmetric", "class_dependent")
UNKNOWN = "unknown"  # The kind of all examples where no truth is known.
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


@dataclasses.dataclass(frozen=True)
class Part:
  """The examples of a training, validation or test part.

  Attributes:
    source: what a classifier takes, a tree of arrays [M, ...], of which a part
      has some rows. It may be mapped from the disk, and shared by parts.
    row_N: of the source, one for each example.
    label_N: int32, the class of each example.
  """

  source: Any
  row_N: np.ndarray
  label_N: np.ndarray

  def __len__(self) -> int:
    return len(self.label_N)

  def inputs(self) -> Any:
    """Of all examples, arrays [N, ...] in memory."""
    return jax.tree.map(lambda values: values[self.row_N], self.source)


@dataclasses.dataclass(frozen=True)
class NoisyDataset:
  """A data set, and what is known of the noise in its training part.

  Attributes:
    split: its name, where there are several; else ''.
    added: what was done to the training part, in tables.
    classes: names of the emotions.
    parts: by the names of `records.PARTS`.
    kinds: names of the kinds of examples; one alone where no truth is known.
    kind_N: int8, index into `kinds`.
    noise: the `kinds` that are noise; empty where no truth is known.
    true_label_N: the classes before labels were changed.
    name_N: of the examples, in figures and files.
    has_pictures: whether the source of the parts is images [M, H, W, C].
    demo: whether the data are synthetic.
  """

  split: str
  added: str
  classes: tuple[str, ...]
  parts: dict[str, Part]
  kinds: tuple[str, ...]
  kind_N: np.ndarray
  noise: tuple[str, ...]
  true_label_N: np.ndarray
  name_N: np.ndarray
  has_pictures: bool
  demo: bool

  @property
  def setting(self) -> str:
    """What it is called in tables."""
    return f"{self.split}, {self.added}" if self.split else self.added

  @property
  def train(self) -> Part:
    """The training part."""
    return self.parts["train"]

  @property
  def noisy_N(self) -> np.ndarray | None:
    """Whether an example is noise; None where no truth is known."""
    if not self.noise:
      return None
    return np.isin(self.kind_N, [self.kinds.index(k) for k in self.noise])

  def counts(self, retained_N: np.ndarray) -> dict[str, np.ndarray]:
    """How many are retained: of all, of each kind and of each class."""
    kind_n, label_n = self.kind_N[retained_N], self.train.label_N[retained_N]
    return {
      "retained": np.int32(len(label_n)),
      "retained_of_kinds": np.bincount(kind_n, minlength=len(self.kinds)),
      "retained_of_classes": np.bincount(label_n, minlength=len(self.classes)),
    }

  def with_training_part(self, train: Part, **changes: Any) -> "NoisyDataset":
    """The same with another training part."""
    parts = {**self.parts, "train": train}
    return dataclasses.replace(self, parts=parts, **changes)


def as_it_is(
  classes: tuple[str, ...],
  parts: dict[str, Part],
  name_N: np.ndarray,
  demo: bool,
  has_pictures: bool = False,
  split: str = "",
) -> NoisyDataset:
  """A corpus without added noise, of whose own noise nothing is known.

  Arguments are `NoisyDataset`'s attributes.
  """
  label_N = parts["train"].label_N
  return NoisyDataset(
    split=split,
    added="as it is",
    classes=classes,
    parts=parts,
    kinds=(UNKNOWN,),
    kind_N=np.zeros(len(label_N), np.int8),
    noise=(),
    true_label_N=label_N,
    name_N=name_N,
    has_pictures=has_pictures,
    demo=demo,
  )


def read_clips(
  config: ml_collections.ConfigDict, min_samples: int
) -> list[NoisyDataset]:
  """Clips of speech, once for each split; of each the first `max_seconds`.

  Args:
    config: a whole config of RLPS.
    min_samples: the shortest clip that can be used.

  Raises:
    UserError: whatever is wrong with a corpus, its labels or its split.
  """
  found, _ = clips.read(config, min_samples)
  size = round(config.data.max_seconds * clips.SAMPLE_RATE)
  audio_UxS = np.zeros((len(found.class_U), size), np.int16)
  length_U = np.zeros(len(found.class_U), np.int32)
  for row, audio in enumerate(found.audio):
    audio = audio[:size]
    audio_UxS[row, : len(audio)], length_U[row] = audio, len(audio)
  source = {"audio": audio_UxS, "length": length_U}
  label_U = found.class_U.astype(np.int32)
  return [
    as_it_is(
      classes=found.classes,
      parts={
        part: Part(source, rows, label_U[rows])
        for part, rows in split.parts.items()
      },
      name_N=found.path_U[split.parts["train"]],
      demo=found.demo,
      split=name if len(found.splits) > 1 else "",
    )
    for name, split in found.splits.items()
  ]


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the fields of `config.data` that say what noise is added.

  Raises:
    UserError: names a field, and what it has to be.
  """
  data = config.data
  checks.choices(config, "data.noise", NOISE)
  checks.fraction(config, "data.half_faces", "data.no_faces")
  checks.fraction(config, "data.label_noise_rate")
  if not data.noise:
    raise UserError("config.data.noise: name one at least")
  if data.half_faces + data.no_faces > 1:
    raise UserError(
      "config.data.half_faces + config.data.no_faces: more than all faces"
    )


def add(
  clean: NoisyDataset, name: str, config: ml_collections.ConfigDict, seed: int
) -> NoisyDataset:
  """The same with noise in its training part; the others stay as they are.

  Args:
    clean: `as_it_is`.
    name: one of `NOISE`.
    config: a `config.data` of RLPS, which says how much.
    seed: of the noise.

  Raises:
    UserError: a class has no other that it is confused with.
  """
  train = clean.train
  if name == "none":
    return clean
  if name == "intercepted":
    images, kind_N = intercept(
      train.inputs(), seed, config.half_faces, config.no_faces
    )
    return clean.with_training_part(
      Part(images, np.arange(len(train)), train.label_N),
      added="half and no faces",
      kinds=tuple(f"{kind} face" for kind in KINDS),
      kind_N=kind_N,
      noise=("none face",),
    )
  rate = config.label_noise_rate
  if name == "symmetric":
    label_N, wrong_N = symmetric(train.label_N, rate, len(clean.classes), seed)
  else:
    label_N, wrong_N = class_dependent(train.label_N, rate, clean.classes, seed)
  return clean.with_training_part(
    dataclasses.replace(train, label_N=label_N),
    added=f"{100 * rate:g} % {name.replace('_', '-')} label noise",
    kinds=("right label", "wrong label"),
    kind_N=wrong_N.astype(np.int8),
    noise=("wrong label",),
  )


def intercept(
  images: np.ndarray, seed: int, half: float = 0.25, none: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts half faces and no faces out of some of the images.

  The noise set of Li & Xu (2020, "Deep reinforcement learning for robust
  emotional classification in facial expression recognition", section 4.5): half
  of the training images show the full face, a quarter half of one, a quarter
  none. The paper "intercepts" regions and shows one example of each. Here a
  half face is the left or the right half of the image. The paper takes "none"
  from beside the face; aligned faces leave nothing beside them, so here it is a
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
