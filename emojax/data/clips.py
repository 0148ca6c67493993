"""Labelled clips of one or several corpora, their parts, and what is read.

U clips, all corpora together; P pieces of clips.
"""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import ml_collections
import numpy as np

from emojax import summary as summaries
from emojax.audio import io, levels
from emojax.audio.settings import Augmentation
from emojax.corpora import labels, recordings, records
from emojax.corpora import speech as corpora
from emojax.data import (
  array_record,
  duplicates,
  pipeline,
  split_audit,
  splits,
  taught_classes,
)
from emojax.data.array_record import Corpus
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.runtime.files import cache_folder

SAMPLE_RATE = array_record.SAMPLE_RATE

_MEASURED = 200  # Clips of a part whose level is that of all.


class Audio(Sequence):
  """The samples of some clips of several corpora, read from disk by index."""

  def __init__(self, parts: Sequence[tuple[Corpus, np.ndarray]]):
    """Takes of each corpus its clips and the rows that are kept."""
    self._parts = list(parts)
    ends = itertools.accumulate(len(rows) for _, rows in self._parts)
    self._starts = [0, *ends]

  def __len__(self) -> int:
    return self._starts[-1]

  def __getitem__(self, index: int) -> np.ndarray:
    """int16 [S] at `SAMPLE_RATE`."""
    part = bisect.bisect_right(self._starts, index) - 1
    corpus, rows = self._parts[part]
    return corpus[int(rows[index - self._starts[part]])]


@dataclasses.dataclass(frozen=True)
class Clips:
  """The clips of a study."""

  classes: tuple[str, ...]
  audio: Audio
  num_samples_U: np.ndarray  # At `SAMPLE_RATE`.
  class_U: np.ndarray  # Index of the emotion.
  speaker_U: np.ndarray  # Unique over all corpora.
  corpus_U: np.ndarray
  session_U: np.ndarray  # '' where the corpus has none.
  path_U: np.ndarray
  name_U: np.ndarray  # Of the path, and what is heard of the file.
  digest_U: np.ndarray  # SHA-256 of the samples.
  splits: dict[str, Split]  # By setting: parts train, validation and test.

  @property
  def demo(self) -> bool:
    """Whether any of them is synthetic."""
    return bool((self.corpus_U == "demo").any())

  def digest_of(self, rows: Mapping[str, np.ndarray]) -> str:
    """One name for the same clips, where `rows` says which, by setting."""
    return summaries.digest(
      {name: self.digest_U[of].tolist() for name, of in rows.items()}
    )


class Features(Protocol):
  """Features of pieces, [T, L, D] by index, with T of each; see `encoded`."""

  lengths: np.ndarray

  def __getitem__(self, index: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Part:
  """The clips of a part, cut in pieces."""

  rows: np.ndarray  # The clips, [U].
  clip_P: np.ndarray  # The place of each piece's clip in `rows`.
  lengths_P: np.ndarray  # With the room that pieces need in a batch.
  sizes: tuple[int, ...]  # What pieces are filled up to.
  reader: pipeline.Reader

  def plan(self, batch_size: int, num_epochs: int = 1) -> pipeline.Plan:
    """Batches of its pieces, the longest first."""
    return pipeline.Plan(self.lengths_P, self.sizes, batch_size, num_epochs)

  def means(
    self, values_NxC: np.ndarray, weight_N: np.ndarray, clip_N: np.ndarray
  ) -> np.ndarray:
    """The mean of each clip over its pieces, float32 [U, C].

    The N pieces are in any order; one that only fills a batch up has weight 0.
    """
    total_UxC = np.zeros((len(self.rows), values_NxC.shape[1]), np.float32)
    counts = weight_N > 0
    np.add.at(total_UxC, clip_N[counts], values_NxC[counts])
    pieces_U = np.bincount(self.clip_P, minlength=len(self.rows))
    return total_UxC / pieces_U[:, None].astype(np.float32)


def read(
  config: ml_collections.ConfigDict, min_samples: int = 1
) -> tuple[Clips, dict[str, str]]:
  """Reads, prepares, splits and audits the corpora of a study.

  Clips without a label that the study keeps are left out. A clip of fewer than
  `min_samples` at `SAMPLE_RATE` is named and skipped as an unreadable one.

  Returns:
    The clips; and for each setting a Markdown table of who is in which part.

  Raises:
    UserError: whatever is wrong with a corpus, its labels or the splits.
  """
  classes, index = labels.parse_classes(config.data.labels)
  found, parts, class_U, digest_U, num_samples_U = [], [], [], [], []
  listed = corpora.read_all(config.data)
  used = [_used(utterances, index) for _, utterances in listed]
  skips = recordings.Skips(config.data.max_skipped, sum(map(sum, used)))
  for (name, utterances), used_U in zip(listed, used, strict=True):
    folder = cache_folder() / "clips"
    corpus = array_record.prepare(
      *(name, utterances, folder, skips, used_U, min_samples)
    )
    named = [one.label for one in corpus.utterances]
    of_corpus = labels.class_index(named, index)
    labels.say_left_out(f"{name}: clips", named, index)
    duplicates.check(name, corpus.utterances, corpus.digests, index)
    rows = np.flatnonzero(of_corpus >= 0)
    if not len(rows):
      raise UserError(
        f"config.data.labels = {config.data.labels!r}: no clip of {name} has "
        "one of them"
      )
    found.append((name, [corpus.utterances[row] for row in rows]))
    parts.append((corpus, rows))
    class_U.extend(of_corpus[rows])
    digest_U.extend(corpus.digests[row] for row in rows)
    num_samples_U.extend(corpus.num_samples[row] for row in rows)
  utterances, names = records.merge(found)
  clips = Clips(
    classes=classes,
    audio=Audio(parts),
    num_samples_U=np.array(num_samples_U),
    class_U=np.array(class_U),
    speaker_U=np.array([one.speaker for one in utterances]),
    corpus_U=np.array(names),
    session_U=np.array([one.session for one in utterances]),
    path_U=np.array([one.path for one in utterances]),
    name_U=np.array([one.name for one in utterances]),
    digest_U=np.array(digest_U),
    splits={},
  )
  made = splits.make(config.split, clips, validates=True)
  clips = dataclasses.replace(clips, splits=made)
  tables = _audit(clips, utterances)
  for setting, split in made.items():
    taught_classes.check(setting, split, classes, clips.class_U)
  return clips, tables


def _used(
  utterances: Sequence[records.Utterance], index: Mapping[str, int]
) -> list[bool]:
  """Whether a study of these classes uses them."""
  class_U = labels.class_index([one.label for one in utterances], index)
  return (class_U >= 0).tolist()


def _audit(
  clips: Clips, utterances: Sequence[records.Utterance]
) -> dict[str, str]:
  """Who is in which part, by setting."""
  emotion_U = np.array(clips.classes)[clips.class_U]
  dialogues = [f"{one.session}/{one.dialogue}" for one in utterances]
  stretches = [one.stretch for one in utterances]
  who = (emotion_U, clips.speaker_U, dialogues, clips.digest_U, stretches)
  return {
    name: split_audit.audit(split, *who) for name, split in clips.splits.items()
  }


def sizes(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """The lengths of batches, in samples."""
  return tuple(round(seconds * SAMPLE_RATE) for seconds in config.data.buckets)


def speech_db(audio: Sequence[np.ndarray], rows: np.ndarray) -> float | None:
  """The median level of the speech of a part, see `levels.speech_db`.

  Of 200 clips of `audio`, int16 [S], at most, spread evenly over `rows`; None
  where most are silent.
  """
  count = min(_MEASURED, len(rows))
  chosen = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
  found = [
    levels.speech_db(audio[row] / io.FULL_SCALE, SAMPLE_RATE)
    for row in chosen.tolist()
  ]
  level_db = float(np.median(found))
  return level_db if math.isfinite(level_db) else None


def pieces(clips: Clips, size: int) -> pipeline.Pieces:
  """All clips in pieces of at most `size` samples."""
  lengths_U = clips.num_samples_U
  return pipeline.cut(lengths_U, np.arange(len(lengths_U)), size)


def parts_of_audio(
  clips: Clips,
  split: Split,
  fields: Mapping[str, np.ndarray],
  lengths: tuple[int, ...],
  augmentation: Augmentation | None,
) -> dict[str, Part]:
  """Parts that are read as audio.

  Batches hold further `fields` of each clip, [U] by name, and have one of the
  `lengths`, see `sizes`. The training part alone is augmented: it has
  background noise, and room for what the stretching of time adds.
  """
  cut = pieces(clips, lengths[-1])
  parts = _parts(clips.audio, cut, cut.row_P, split, fields, lengths)
  if augmentation is not None:
    train, longer = parts["train"], augmentation.lengthening
    if longer > 1:
      train = dataclasses.replace(
        train,
        lengths_P=np.ceil(train.lengths_P * longer).astype(int),
        sizes=(*lengths, math.ceil(lengths[-1] * longer)),
      )
    reader = dataclasses.replace(train.reader, noise=augmentation.noise)
    parts["train"] = dataclasses.replace(train, reader=reader)
  return parts


def parts_of_features(
  clips: Clips,
  split: Split,
  fields: Mapping[str, np.ndarray],
  lengths: tuple[int, ...],
  features: Features,
  num_frames: Callable[[int], int],
) -> dict[str, Part]:
  """Parts that are read as features of a frozen encoder.

  There are [T, L, D] of each of `pieces`, T = `num_frames` of its samples.
  """
  row_P = pieces(clips, lengths[-1]).row_P
  read = pipeline.whole(features.lengths)
  frames = tuple(int(num_frames(size)) for size in lengths)
  return _parts(features, read, row_P, split, fields, frames)


def domains(clips: Clips, split: Split, domain: str) -> tuple[int, np.ndarray]:
  """How many speakers or corpora the training part has, and that of each clip.

  Clips of other parts, which no adversary sees, have domain 0.

  Raises:
    UserError: the training part has only one.
  """
  names_U = {"speaker": clips.speaker_U, "corpus": clips.corpus_U}[domain]
  known = np.unique(names_U[split.parts["train"]])
  if len(known) < 2:
    raise UserError(
      f"config.adversary.domain = {domain!r}: the training part has only one, "
      "and there is nothing to forget"
    )
  place_U = np.searchsorted(known, names_U)
  place_U[~np.isin(names_U, known)] = 0
  return len(known), place_U.astype(np.int32)


def _parts(source, read, row_P, split, fields, lengths) -> dict[str, Part]:
  """Of pieces that belong to the clips `row_P`, by part."""
  parts = {}
  for name, rows in split.parts.items():
    index_P = np.flatnonzero(np.isin(row_P, rows))
    clip_P = np.searchsorted(rows, row_P[index_P]).astype(np.int32)
    values = {key: value_U[row_P[index_P]] for key, value_U in fields.items()}
    taken = pipeline.Pieces(*(value_P[index_P] for value_P in read))
    reader = pipeline.Reader(source, taken, {"clip": clip_P, **values})
    parts[name] = Part(rows, clip_P, taken.lengths_P, lengths, reader)
  return parts
