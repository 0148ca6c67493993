"""Training sets with noise whose truth is known: cut images, changed labels.

N examples of a training part.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from emojax import checks
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

NOISE = ("none", "intercepted", "symmetric", "class_dependent")
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
  """The examples of a training, validation or test part."""

  # What a classifier takes, a tree of arrays [M, ...], of which a part has some
  # rows. It may be mapped from the disk, and shared by parts.
  source: Any
  row_N: np.ndarray  # Of the source, one for each example.
  label_N: np.ndarray  # int32, the class of each example.

  def __len__(self) -> int:
    return len(self.label_N)

  def inputs(self) -> Any:
    """Of all examples, arrays [N, ...] in memory."""
    return jax.tree.map(lambda values: values[self.row_N], self.source)


@dataclasses.dataclass(frozen=True)
class NoisyDataset:
  """A data set, and what is known of the noise in its training part."""

  classes: tuple[str, ...]
  parts: dict[str, Part]  # By the names of `records.PARTS`.
  name_N: np.ndarray  # Of the examples, in figures and files.
  demo: bool  # Whether the data are synthetic.
  test_digest_N: np.ndarray  # Of test examples: equal wherever it is the same.
  test_speaker_N: np.ndarray | None = None  # Who says them; None of faces.
  who: Mapping[str, str] | None = None  # In each part, for a table.
  has_pictures: bool = False  # The parts' source is images [M, H, W, C].
  notes: tuple[str, ...] = ()  # What is in two parts, as paragraphs.
  split: str = ""  # Its name, where there are several.
  added: str = "as it is"  # What was done to the training part, in tables.
  # Of examples, the last of which is noise; one alone: no truth is known.
  kinds: tuple[str, ...] = ("unknown",)
  kind_N: np.ndarray | None = None  # int8, index into `kinds`.
  true_label_N: np.ndarray | None = None  # Before labels were changed.

  def __post_init__(self):
    """Without more knowledge all labels are true, and all examples alike."""
    if self.kind_N is None:
      object.__setattr__(self, "kind_N", np.zeros(len(self.train), np.int8))
    if self.true_label_N is None:
      object.__setattr__(self, "true_label_N", self.train.label_N)

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
    last = len(self.kinds) - 1
    return self.kind_N == last if last else None

  def counts(self, retained_N: np.ndarray) -> dict[str, np.ndarray]:
    """How many are retained: of all, of each kind and of each class."""
    kind_n, label_n = self.kind_N[retained_N], self.train.label_N[retained_N]
    return {
      "retained": np.int32(len(label_n)),
      "retained_of_kinds": np.bincount(kind_n, minlength=len(self.kinds)),
      "retained_of_classes": np.bincount(label_n, minlength=len(self.classes)),
    }


def read_clips(
  config: ml_collections.ConfigDict, min_samples: int
) -> list[NoisyDataset]:
  """Clips of speech, once for each split; of each the first `max_seconds`.

  Raises:
    UserError: whatever is wrong with a corpus, its labels or its split.
  """
  # Faces need no clips, nor what reads them.
  from emojax.data import clips, split_audit

  found, audits = clips.read(config, min_samples)
  size = round(config.data.max_seconds * clips.SAMPLE_RATE)
  audio_UxS = np.zeros((len(found.class_U), size), np.int16)
  length_U = np.minimum(found.num_samples_U, size).astype(np.int32)
  if longer := int((found.num_samples_U > size).sum()):
    _LOG.warning(
      "%d of %d clips are longer than config.data.max_seconds = %g: what comes "
      "later in them is not read",
      *(longer, len(length_U), config.data.max_seconds),
    )
  for row, audio in enumerate(found.audio):
    audio_UxS[row, : length_U[row]] = audio[:size]
  source, label_U = {"audio": audio_UxS, "length": length_U}, found.class_U
  return [
    NoisyDataset(
      found.classes,
      {
        part: Part(source, rows, label_U[rows].astype(np.int32))
        for part, rows in split.parts.items()
      },
      found.name_U[split.parts["train"]],
      found.demo,
      found.digest_U[split.parts["test"]],
      found.speaker_U[split.parts["test"]],
      {
        part: split_audit.people(found.speaker_U[rows].tolist())
        for part, rows in split.parts.items()
      },
      notes=tuple(audits[name].split("\n\n")[1:]),
      split=name if len(found.splits) > 1 else "",
    )
    for name, split in found.splits.items()
  ]


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the fields of `config.data` that say what noise is added."""
  checks.choices(config, "data.noise", NOISE)
  checks.fraction(
    config, "data.half_faces", "data.no_faces", "data.label_noise_rate"
  )
  if not config.data.noise:
    raise UserError("config.data.noise: name one at least")
  if config.data.half_faces + config.data.no_faces > 1:
    raise UserError(
      "config.data.half_faces + config.data.no_faces: more than all faces"
    )


def add(
  clean: NoisyDataset, name: str, config: ml_collections.ConfigDict, seed: int
) -> NoisyDataset:
  """The same with noise in its training part; the others stay as they are.

  `name` is one of `NOISE`; `config`, a `config.data`, has how much of it.

  Raises:
    UserError: a class has no other that it is confused with.
  """
  train, rate = clean.train, config.label_noise_rate
  if name == "none":
    return clean
  if name == "intercepted":
    shares = (config.half_faces, config.no_faces)
    images, kind_N = intercept(train.inputs(), seed, *shares)
    train = Part(images, np.arange(len(train)), train.label_N)
    added, kinds = "half and no faces", [f"{kind} face" for kind in KINDS]
  else:
    if name == "symmetric":
      label_N = symmetric(train.label_N, rate, len(clean.classes), seed)
    else:
      label_N = class_dependent(train.label_N, rate, clean.classes, seed)
    kind_N = (label_N != train.label_N).astype(np.int8)
    train = dataclasses.replace(train, label_N=label_N)
    added = f"{100 * rate:g} % {name.replace('_', '-')} label noise"
    kinds = ["right label", "wrong label"]
  return dataclasses.replace(
    clean,
    parts={**clean.parts, "train": train},
    added=added,
    kinds=tuple(kinds),
    kind_N=kind_N,
  )


def intercept(
  images: np.ndarray, seed: int, half: float = 0.25, none: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts half faces and no faces out of some of the images.

  After Li & Xu (2020, "Deep reinforcement learning for robust emotional
  classification in facial expression recognition", section 4.5), who show one
  example of each. A half face is the left or the right half of the image. They
  take "none" from beside the face; aligned faces leave nothing beside them, so
  here it is a corner, a quarter high and wide: hair, cheek, neck or background,
  without brow, eye or mouth. Either is brought back to the full size by linear
  interpolation, as a cropped image would be.

  Images are uint8 [N, H, W, C], H and W at least 8; `half` and `none` are
  shares of them. The same seed cuts the same.

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
  side = rng.integers(2, size=len(of_half))
  corner = rng.integers(4, size=len(of_none))

  def edges(size: int, part: int) -> tuple[slice, slice]:
    return slice(0, part), slice(size - part, size)

  columns = edges(width, width // 2)
  cuts = [(of_half[side == i], slice(None), columns[i]) for i in range(2)]
  rows, columns = edges(height, height // 4), edges(width, width // 4)
  cuts += [
    (of_none[corner == i], rows[i // 2], columns[i % 2]) for i in range(4)
  ]
  noisy = np.array(images)
  for which, rows, columns in cuts:
    noisy[which] = _enlarge(images[which][:, rows, columns], height, width)
  return noisy, kind_N


def symmetric(
  labels: np.ndarray, rate: float, num_classes: int, seed: int
) -> np.ndarray:
  """Gives a share `rate` of faces any other label, all equally likely.

  The share is exact, but for rounding; the same seed changes the same.
  """
  rng = np.random.default_rng(seed)
  rows = rng.permutation(len(labels))[: round(rate * len(labels))]
  noisy = np.array(labels)
  shift = rng.integers(1, num_classes, size=len(rows), dtype=noisy.dtype)
  noisy[rows] = (noisy[rows] + shift) % num_classes
  return noisy


def class_dependent(
  labels: np.ndarray, rate: float, classes: Sequence[str], seed: int
) -> np.ndarray:
  """As `symmetric`, in each class, with the label it is most confused with.

  That is the first of `CONFUSIONS` that the study has.

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
  return noisy


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
