"""Labelled clips of one or several corpora, and the parts they are split in.

U clips, all corpora together.
"""

import bisect
import dataclasses
import itertools
import logging
from collections.abc import Sequence

import ml_collections
import numpy as np

from emojax.corpora import downloads, labels
from emojax.data import builders, splits
from emojax.data.builders import Clips
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.runtime.compilation import cache_folder

_LOG = logging.getLogger(__name__)


class Recordings(Sequence):
  """The audio of some clips of several corpora, read from disk by index."""

  def __init__(self, parts: Sequence[tuple[Clips, np.ndarray]]):
    """Takes of each corpus its clips and the rows that are kept."""
    self._parts = list(parts)
    ends = itertools.accumulate(len(rows) for _, rows in self._parts)
    self._starts = [0, *ends]

  def __len__(self) -> int:
    return self._starts[-1]

  def __getitem__(self, index: int) -> np.ndarray:
    """int16 [S] at `builders.SAMPLE_RATE`."""
    part = bisect.bisect_right(self._starts, index) - 1
    clips, rows = self._parts[part]
    return clips[int(rows[index - self._starts[part]])]["audio"]


@dataclasses.dataclass(frozen=True)
class Material:
  """The clips of a study.

  Attributes:
    classes: names of the emotions.
    audio: the samples of each clip.
    num_samples_U: its length, in samples of 16 kHz.
    class_U: index of its emotion.
    speaker_U: name of its speaker, unique over all corpora.
    corpus_U: name of its corpus.
    session_U: name of its session, '' where the corpus has none.
    path_U: its file.
    digest_U: SHA-256 of its file.
    splits: training, validation and test part of each setting.
  """

  classes: tuple[str, ...]
  audio: Recordings
  num_samples_U: np.ndarray
  class_U: np.ndarray
  speaker_U: np.ndarray
  corpus_U: np.ndarray
  session_U: np.ndarray
  path_U: np.ndarray
  digest_U: np.ndarray
  splits: dict[str, Split]


def read(config: ml_collections.ConfigDict) -> tuple[Material, dict[str, str]]:
  """Reads, prepares, splits and audits the corpora of a study.

  Clips without a label that the study keeps are left out.

  Args:
    config: a whole config; its parts `data` and `split` are read.

  Returns:
    The clips; and for each setting a Markdown table of who is in which part.

  Raises:
    UserError: whatever is wrong with a corpus, its labels or the splits.
  """
  classes, index = labels.parse_classes(config.data.labels)
  names, paths = _corpora(config.data)
  parts, fields = [], []
  for name, path in zip(names, paths, strict=True):
    clips, _ = builders.prepare(
      name, path, cache_folder() / "clips", config.data.max_skipped
    )
    class_U = labels.class_index([u.label for u in clips.utterances], index)
    rows = np.flatnonzero(class_U >= 0)
    if not len(rows):
      raise UserError(
        f"config.data.labels = {config.data.labels!r}: no clip of {name} has "
        "one of them"
      )
    parts.append((clips, rows))
    prefix = f"{name}:" if len(names) > 1 else ""
    for row in rows:
      utterance = clips.utterances[row]
      fields.append(
        (
          clips.num_samples[row],
          class_U[row],
          prefix + utterance.speaker,
          name,
          prefix + utterance.session if utterance.session else "",
          utterance.path,
          clips.digests[row],
        )
      )
  material = Material(
    classes, Recordings(parts), *map(np.array, zip(*fields, strict=True)), {}
  )
  material = dataclasses.replace(
    material, splits=splits.make(config.split, material, validates=True)
  )
  tables = {
    setting: _audit(material, split)
    for setting, split in material.splits.items()
  }
  for setting, split in material.splits.items():
    _check_classes(material, setting, split)
  return material, tables


def _corpora(config) -> tuple[list[str], list[str]]:
  """The names and paths of the corpora, downloaded where that is asked for."""
  names = [name.strip() for name in config.corpora.split(",")]
  if len(set(names)) < len(names):
    raise UserError(
      f"config.data.corpora = {config.corpora!r}: name each corpus once"
    )
  paths = [path.strip() for path in config.paths.split(",")]
  if paths == [""]:
    paths = [""] * len(names)
  if len(paths) != len(names):
    raise UserError(
      f"config.data.paths = {config.paths!r}: {len(paths)} paths for "
      f"{len(names)} corpora ({config.corpora}); give one each, in their order"
    )
  if config.download:
    folder = cache_folder() / "downloads"
    paths = [
      path or str(downloads.fetch(name, folder))
      for name, path in zip(names, paths, strict=True)
    ]
  return names, paths


def _audit(material: Material, split: Split) -> str:
  return splits.audit(
    split,
    np.array(material.classes)[material.class_U],
    material.speaker_U,
    material.path_U,
    material.digest_U,
  )


def _check_classes(material: Material, setting: str, split: Split) -> None:
  """What nobody trains on cannot be learned; what nobody tests is said."""
  for part, rows in split.parts.items():
    present = np.unique(material.class_U[rows])
    missing = [
      name for i, name in enumerate(material.classes) if i not in present
    ]
    if not missing:
      continue
    if part == "train":
      raise UserError(
        f"{setting}: no clip of the training part is {', '.join(missing)}; "
        "leave it out of config.data.labels, or choose another config.split"
      )
    _LOG.warning(
      "%s: no clip of the %s part is %s; unweighted accuracy is the mean over "
      "the other classes",
      setting,
      part,
      ", ".join(missing),
    )
