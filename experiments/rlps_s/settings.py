"""The settings of the study: examples, their noise, and what is known of it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from configs import rlps as configs
from emojax.corpora import labels
from emojax.data import faces, noise, table
from emojax.runtime.files import cache_folder
from experiments.rlps_s import descriptors

PARTS = ("train", "validation", "test")
_CONTESTED = 0.8  # As `emojax.data.faces` has it.
_FEATURES = 16  # Principal components that the policy may see.
_LAYER = 3  # Of Whisper base, 512 values each.
# Actors, two women and two men of each four; the others train.
_ACTORS = {"validation": (17, 18, 19, 20), "test": (21, 22, 23, 24)}


@dataclasses.dataclass(frozen=True)
class Data:
  """One draw of noise.

  `views` [V, N, D] by part; `features` [N, S] of training and validation.
  """

  classes: tuple[str, ...]
  views: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]  # int32; the training part's with noise.
  features: Mapping[str, np.ndarray]
  wrong_N: np.ndarray  # Whether an example is noise.
  kinds: Mapping[str, np.ndarray]  # Further groups of the training part.
  rate: float  # Share of noise, as co-teaching is told.


class Setting(NamedTuple):
  """How a setting is drawn: `(path, seed) -> Data`."""

  label: str
  draw: Callable[[str, int], Data]
  epochs: int


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
def _described(path: str, strict: bool):
  """As `_faces`, with descriptors in place of the images."""
  classes, images, of_parts, share_N = _faces(path, strict)
  views = {
    part: descriptors.views(
      of, descriptors.MOVES if part == "train" else ((0, 0),)
    )
    for part, of in images.items()
  }
  return classes, *_scaled(views), of_parts, share_N


def _scaled(views: Mapping[str, np.ndarray]):
  """Views around 0 at one scale; principal components without any label."""
  first = views["train"][0]
  mean, scale = first.mean(0), first.std()
  views = {part: (of - mean) / scale for part, of in views.items()}
  _, basis = np.linalg.eigh(np.cov(views["train"][0].T))
  last = basis[:, : -_FEATURES - 1 : -1].astype(np.float32)
  features = {part: views[part][0] @ last for part in ("train", "validation")}
  return views, features


def _labels_changed(kind: str, rate: float) -> Callable[[str, int], Data]:
  def draw(path: str, seed: int) -> Data:
    classes, views, features, right, _ = _described(path, True)
    true_N = right["train"]
    noisy_N = _noisy(kind, rate, true_N, classes, seed)
    of_parts = {**right, "train": noisy_N}
    return Data(classes, views, of_parts, features, noisy_N != true_N, {}, rate)

  return draw


def _noisy(kind: str, rate: float, true_N, classes, seed: int) -> np.ndarray:
  if kind == "symmetric":
    return noise.symmetric(true_N, rate, len(classes), seed)
  return noise.class_dependent(true_N, rate, classes, seed)


def _as_it_is(path: str, seed: int) -> Data:
  del seed  # Nothing is drawn but the initialisation.
  classes, views, features, of_parts, share_N = _described(path, False)
  contested_N = share_N < _CONTESTED
  rate = float(contested_N.mean())
  return Data(classes, views, of_parts, features, contested_N, {}, rate)


def _cut(path: str, seed: int) -> Data:
  classes, images, of_parts, _ = _faces(path, True)
  cut, kind_N = noise.intercept(images["train"], seed)
  found = {
    part: descriptors.views(cut if part == "train" else of, ((0, 0),))
    for part, of in images.items()
  }
  scaled, features = _scaled(found)
  kinds = {
    f"{name} face": kind_N == number for number, name in enumerate(noise.KINDS)
  }
  is_none = kinds["none face"]
  return Data(classes, scaled, of_parts, features, is_none, kinds, 0.25)


def _speech(path: str, seed: int) -> Data:
  found = table.load(path)
  classes = tuple(sorted(set(found.label.tolist())))
  class_N = np.array([classes.index(one) for one in found.label], np.int32)
  actor_N = np.array([int(one[-2:]) for one in found.speaker.tolist()])
  rows = {p: np.flatnonzero(np.isin(actor_N, of)) for p, of in _ACTORS.items()}
  rest = np.isin(actor_N, [one for of in _ACTORS.values() for one in of])
  rows["train"] = np.flatnonzero(~rest)
  values = found.audio[:, 512 * _LAYER : 512 * (_LAYER + 1)]
  mean, scale = (f(values[rows["train"]], 0) for f in (np.mean, np.std))
  values = ((values - mean) / np.maximum(scale, 1e-6)).astype(np.float32)
  of_parts = {part: class_N[of] for part, of in rows.items()}
  true_N = of_parts["train"]
  of_parts["train"] = noise.symmetric(true_N, 0.3, len(classes), seed)
  views, features = _scaled({p: values[of][None] for p, of in rows.items()})
  wrong_N = of_parts["train"] != true_N
  return Data(classes, views, of_parts, features, wrong_N, {}, 0.3)


SETTINGS = {
  "symmetric_30": Setting(
    "30 % symmetric label noise", _labels_changed("symmetric", 0.3), 12
  ),
  "as_it_is": Setting("as it is (contested votes)", _as_it_is, 12),
  "half_and_no_faces": Setting("half and no faces", _cut, 12),
  "class_dependent_30": Setting(
    "30 % class-dependent label noise",
    _labels_changed("class_dependent", 0.3),
    12,
  ),
  "symmetric_10": Setting(
    "10 % symmetric label noise", _labels_changed("symmetric", 0.1), 12
  ),
  "class_dependent_10": Setting(
    "10 % class-dependent label noise",
    _labels_changed("class_dependent", 0.1),
    12,
  ),
  "speech_30": Setting(
    "speech: RAVDESS, Whisper base, 30 % symmetric label noise", _speech, 30
  ),
}
