"""The settings of the study: examples, their noise, and what is known of it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from configs import rlps as configs
from emojax.corpora import labels
from emojax.data import faces, gradients, noise, table
from emojax.runtime.files import cache_folder

PARTS = ("train", "validation", "test")
_CONTESTED = 0.8  # As `emojax.data.faces` has it.
_FEATURES = 16  # Principal components that the policy may see.
_LAYER = 3  # Of Whisper base, 512 values each.
# Actors, two women and two men of each four; the others train.
_ACTORS = {"validation": (17, 18, 19, 20), "test": (21, 22, 23, 24)}


@dataclasses.dataclass(frozen=True)
class Data:
  """One draw of noise.

  `inputs` by part, as the classifier reads them; `features` [N, S] of training
  and validation part.
  """

  classes: tuple[str, ...]
  inputs: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]  # int32; the training part's with noise.
  features: Mapping[str, np.ndarray]
  wrong_N: np.ndarray  # Whether an example is noise.
  kinds: Mapping[str, np.ndarray]  # Further groups of the training part.
  rate: float  # Share of noise, as co-teaching is told.


# From images by part to what a classifier takes.
Read = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Setting(NamedTuple):
  """How a setting is drawn: `(path, read, seed) -> Data`."""

  label: str
  draw: Callable[[str, Read, int], Data]
  epochs: int | None = None  # None: the classifier's own number.


def _faces(path: str, strict: bool):
  """Images and labels by part, and the share of the training part's votes."""
  config = configs.get_config("ferplus")
  config.data.path = path
  found = faces.prepare(config.data, cache_folder() / "faces")
  classes, index = labels.parse_classes(config.data.labels)
  class_N = labels.class_index(found.label.tolist(), index)
  share_N = found.votes.max(1) / found.votes.sum(1)
  least = 0.5 if strict else 0.0
  rows = {
    part: np.flatnonzero(
      (found.part == number) & (class_N >= 0) & (share_N > least)
    )
    for number, part in enumerate(PARTS)
  }
  images = {part: found.images[of] for part, of in rows.items()}
  of_parts = {part: class_N[of].astype(np.int32) for part, of in rows.items()}
  return classes, images, of_parts, share_N[rows["train"]]


@functools.lru_cache(2)
def _read_faces(path: str, strict: bool, read: Read):
  """As `_faces`, as a classifier reads the images; features; labels; votes."""
  classes, images, of_parts, share_N = _faces(path, strict)
  return classes, read(images), _features(images), of_parts, share_N


def _features(images: Mapping[str, np.ndarray]):
  """What the policy may see of images: components of oriented gradients."""
  values = {
    part: gradients.describe(images[part]) for part in ("train", "validation")
  }
  return gradients.components(values, _FEATURES)


def _labels_changed(kind: str, rate: float) -> Callable[..., Data]:
  def draw(path: str, read: Read, seed: int) -> Data:
    classes, inputs, features, right, _ = _read_faces(path, True, read)
    true_N = right["train"]
    noisy_N = _noisy(kind, rate, true_N, classes, seed)
    of_parts = {**right, "train": noisy_N}
    wrong_N = noisy_N != true_N
    return Data(classes, inputs, of_parts, features, wrong_N, {}, rate)

  return draw


def _noisy(kind: str, rate: float, true_N, classes, seed: int) -> np.ndarray:
  if kind == "symmetric":
    return noise.symmetric(true_N, rate, len(classes), seed)
  return noise.class_dependent(true_N, rate, classes, seed)


def _as_it_is(path: str, read: Read, seed: int) -> Data:
  del seed  # Nothing is drawn but the initialisation.
  classes, inputs, features, of_parts, share_N = _read_faces(path, False, read)
  contested_N = share_N < _CONTESTED
  rate = float(contested_N.mean())
  return Data(classes, inputs, of_parts, features, contested_N, {}, rate)


def _cut(path: str, read: Read, seed: int) -> Data:
  classes, images, of_parts, _ = _faces(path, True)
  cut, kind_N = noise.intercept(images["train"], seed)
  images = {**images, "train": cut}
  kinds = {
    f"{name} face": kind_N == number for number, name in enumerate(noise.KINDS)
  }
  return Data(
    *(classes, read(images), of_parts, _features(images)),
    *(kinds["none face"], kinds, 0.25),
  )


def _speech(path: str, read: Read, seed: int) -> Data:
  del read  # They are vectors already.
  found = table.load(path)
  classes = tuple(sorted(set(found.label.tolist())))
  class_N = np.array([classes.index(one) for one in found.label], np.int32)
  actor_N = np.array([int(one[-2:]) for one in found.speaker.tolist()])
  rows = {p: np.flatnonzero(np.isin(actor_N, of)) for p, of in _ACTORS.items()}
  rest = np.isin(actor_N, [one for of in _ACTORS.values() for one in of])
  rows["train"] = np.flatnonzero(~rest)
  first = 512 * _LAYER
  values = found.features["audio"][:, first : first + 512]
  mean, scale = (f(values[rows["train"]], 0) for f in (np.mean, np.std))
  values = ((values - mean) / np.maximum(scale, 1e-6)).astype(np.float32)
  of_parts = {part: class_N[of] for part, of in rows.items()}
  true_N = of_parts["train"]
  of_parts["train"] = noise.symmetric(true_N, 0.3, len(classes), seed)
  inputs = {part: values[of] for part, of in rows.items()}
  features = gradients.components(
    {part: inputs[part] for part in ("train", "validation")}, _FEATURES
  )
  inputs = {part: of[None] for part, of in inputs.items()}
  wrong_N = of_parts["train"] != true_N
  return Data(classes, inputs, of_parts, features, wrong_N, {}, 0.3)


SPEECH = "speech_30"
SETTINGS = {
  "symmetric_30": Setting(
    "30 % symmetric label noise", _labels_changed("symmetric", 0.3)
  ),
  "class_dependent_30": Setting(
    "30 % class-dependent label noise", _labels_changed("class_dependent", 0.3)
  ),
  "half_and_no_faces": Setting("half and no faces", _cut),
  "as_it_is": Setting("as it is (contested votes)", _as_it_is),
  "symmetric_10": Setting(
    "10 % symmetric label noise", _labels_changed("symmetric", 0.1)
  ),
  "class_dependent_10": Setting(
    "10 % class-dependent label noise", _labels_changed("class_dependent", 0.1)
  ),
  SPEECH: Setting(
    "speech: RAVDESS, Whisper base, 30 % symmetric label noise", _speech, 15
  ),
}
