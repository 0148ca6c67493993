"""A training set as a selector takes it, and as its rows are written again."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emojax.audio import io
from emojax.corpora import faces as face_corpora
from emojax.corpora import images, recordings
from emojax.corpora import speech as speech_corpora
from emojax.corpora.faces import image_folder
from emojax.corpora.faces import manifest as face_manifest
from emojax.corpora.images import UnreadableImage
from emojax.corpora.records import Face, Utterance
from emojax.corpora.shipped import Readers
from emojax.corpora.speech import manifest as speech_manifest
from emojax.errors import Unreadable, UserError
from emojax.reports import attention
from emojax.systems.faces import FaceSystem
from emojax.systems.speech import SpeechSystem

Record = Face | Utterance


@dataclasses.dataclass(frozen=True)
class TrainingSet:
  """The rows of a training set, in the order of their reader.

  Attributes:
    columns: those by which our readers know a row again.
    describe: a record's values of these, '' where there is none.
    load: a record as the classifier takes it, or why it can not be used.
    picture: of what `load` gives, what a person judges: uint8 [H, W, C].
  """

  records: Sequence[Record]
  columns: tuple[str, ...]
  describe: Callable[[Record], dict[str, str]]
  load: Callable[[Record], Any]
  picture: Callable[[Any], np.ndarray]

  def part(self, record: Record) -> str:
    """Of a clip always the training part: only faces come in parts."""
    return getattr(record, "part", "train")


def read(
  system: FaceSystem | SpeechSystem, path: str, corpus: str | None
) -> TrainingSet:
  """Reads all rows; nothing is decoded yet.

  Args:
    system: the classifier that will see or hear them.
    path: the folder or file of a corpus; without one a manifest, or of faces a
      folder of images in folders of their labels, with or without parts.
    corpus: the name of its reader.

  Raises:
    UserError: whatever the reader finds wrong.
  """
  if isinstance(system, FaceSystem):
    return _of_faces(system, path, corpus)
  return _of_clips(system, path, corpus)


def _of_faces(system: FaceSystem, path: str, corpus: str | None) -> TrainingSet:
  if corpus:
    records = _registered(face_corpora, corpus, path)
  elif os.path.isdir(path):
    records = image_folder.read_any(path)
  else:
    _require(path, face_manifest.LAYOUT)
    records = face_manifest.read_any(path)
  if not records:
    raise UserError(f"{path}: no face; expected {image_folder.LAYOUT}")
  if any(one.offset is not None for one in records):
    raise UserError(
      f"{records[0].path}: the pixels of its faces are in the table itself, "
      "and what stays is a list of files: save them as images first, in "
      "folders such as train/happy"
    )
  columns = ("path", "label", "part")
  if any(one.box for one in records):
    columns += face_manifest.BOX

  def describe(one: Face) -> dict[str, str]:
    box = dict(zip(face_manifest.BOX, map(str, one.box or ()), strict=False))
    return {"path": one.path, "label": one.label, "part": one.part, **box}

  def load(one: Face) -> np.ndarray | UnreadableImage:
    try:
      return images.load(one, system.image_size, system.channels)
    except UnreadableImage as error:
      return error

  return TrainingSet(records, columns, describe, load, lambda pixels: pixels)


def _of_clips(
  system: SpeechSystem, path: str, corpus: str | None
) -> TrainingSet:
  if not corpus and os.path.isdir(path):
    names = ", ".join(speech_corpora.names())
    raise UserError(
      f"{path}: a folder; name its corpus by --corpus= (there are {names}), or "
      f"give {speech_manifest.LAYOUT}"
    )
  if not corpus:
    _require(path, speech_manifest.LAYOUT)
  records = _registered(speech_corpora, corpus or "manifest", path)

  def describe(one: Utterance) -> dict[str, str]:
    values = {name: getattr(one, name) for name in speech_manifest.COLUMNS}
    values["end"] = "" if one.end is None else one.end
    if not one.start:
      values["start"] = ""
    return {name: str(value) for name, value in values.items()}

  described = list(map(describe, records))
  # A clip that is alone in its dialogue is named after nothing but itself.
  dialogues = {(one.session, one.dialogue) for one in records}
  empty = {"dialogue", "turn"} if len(dialogues) == len(records) else set()
  columns = tuple(
    name
    for name in speech_manifest.COLUMNS
    if name not in empty and any(values[name] for values in described)
  )
  return TrainingSet(
    records, columns, describe, lambda one: _clip(system, one), _spectrogram
  )


def _registered(readers: Readers, corpus: str, path: str) -> list:
  if corpus not in readers.names():
    raise UserError(
      f"--corpus={corpus}: no such corpus; there are "
      f"{', '.join(readers.names())}"
    )
  return readers.read(corpus, path)


def _require(path: str, expected: str) -> None:
  if not pathlib.Path(path).exists():
    raise UserError(f"{path}: no such file or folder; expected {expected}")


def _clip(
  system: SpeechSystem, one: Utterance
) -> dict[str, np.ndarray] | Unreadable:
  """The first window of a clip, with zeros after its end."""
  rate, size = system.sample_rate, system.window_samples
  found = recordings.decode(one, rate)
  if isinstance(found, Unreadable):
    return found
  samples, shortest = found.samples, system.encoder.min_samples
  if len(samples) < shortest:
    return recordings.too_short(one.path, len(samples), shortest, rate)
  audio_S = np.zeros(size, np.int16)
  audio_S[: len(samples)] = samples[:size]
  return {"audio": audio_S, "length": np.int32(min(len(samples), size))}


def _spectrogram(inputs: dict[str, np.ndarray]) -> np.ndarray:
  """The log-mel picture of a clip, high tones on top."""
  audio_S = inputs["audio"][: inputs["length"]] / io.FULL_SCALE
  decibels = attention.log_mel(audio_S)
  lowest = decibels.min()
  grey = 255 * (decibels - lowest) / max(decibels.max() - lowest, 1e-6)
  return grey[::-1, :, None].astype(np.uint8)
