"""The parts of a split as batches are read from them."""

import dataclasses
import math
from typing import Any

import jax
import ml_collections
import numpy as np

from emojax.audio.backgrounds import Backgrounds
from emojax.audio.settings import Settings
from emojax.data import pipeline
from emojax.data.clips import Material
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.systems.speech import SpeechSystem
from emojax.trainers.speech import build, features


@dataclasses.dataclass(frozen=True)
class Resources:
  """What training clips are augmented with.

  Attributes:
    augmentation: what is done to them; None for nothing.
    backgrounds: what background noise is drawn from, or None.
    responses: of rooms, float32 [N, R], or None.
  """

  augmentation: Settings | None
  backgrounds: Backgrounds | None
  responses: np.ndarray | None

  @property
  def lengthening(self) -> float:
    """How much longer the stretching of time may make a clip, at least 1."""
    settings = self.augmentation
    if settings is None or not settings.stretch_probability:
      return 1.0
    return max(1.0, 1 / settings.stretch_rate[0])


@dataclasses.dataclass(frozen=True)
class Part:
  """The clips of a part, cut in pieces.

  Attributes:
    rows: the clips, [U].
    clip_P: the place of each piece's clip in `rows`.
    lengths_P: of the pieces, with the room that they need in a batch.
    sizes: what they are filled up to.
    reader: of the pieces.
  """

  rows: np.ndarray
  clip_P: np.ndarray
  lengths_P: np.ndarray
  sizes: tuple[int, ...]
  reader: pipeline.Reader


def sizes(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """The lengths of batches, in samples."""
  return tuple(
    round(seconds * build.SAMPLE_RATE) for seconds in config.data.buckets
  )


def from_audio(
  config: ml_collections.ConfigDict,
  material: Material,
  split: Split,
  resources: Resources,
) -> dict[str, Part]:
  """Parts that are read as audio; only the training part has noise."""
  pieces = _pieces(config, material)
  parts = {}
  for name, rows in split.parts.items():
    index_P = np.flatnonzero(np.isin(pieces.row_P, rows))
    read = _take(pieces, index_P)
    lengths_P, lengths = read.lengths_P, sizes(config)
    is_train = name == "train"
    if is_train and resources.lengthening > 1:
      # Room for what the stretching of time may add.
      longer = resources.lengthening
      lengths_P = np.ceil(lengths_P * longer).astype(int)
      lengths = (*lengths, math.ceil(lengths[-1] * longer))
    clip_P, fields = _fields(config, material, split, rows, read)
    reader = pipeline.Reader(
      material.audio,
      read,
      fields,
      resources.backgrounds if is_train else None,
    )
    parts[name] = Part(rows, clip_P, lengths_P, lengths, reader)
  return parts


def from_features(
  config: ml_collections.ConfigDict,
  system: SpeechSystem,
  encoder_params: Any,
  material: Material,
  split: Split,
  mesh: jax.sharding.Mesh,
) -> dict[str, Part]:
  """Parts that are read as features of a frozen encoder, computed once.

  Raises:
    UserError: the cache can not be written, or has no room on the disk.
  """
  pieces = _pieces(config, material)
  store = features.compute(
    system,
    encoder_params,
    material,
    pieces,
    sizes(config),
    config.batch_size,
    mesh,
  )
  frames = pipeline.whole(store.lengths)
  frame_sizes = tuple(int(system.num_frames(size)) for size in sizes(config))
  parts = {}
  for name, rows in split.parts.items():
    index_P = np.flatnonzero(np.isin(pieces.row_P, rows))
    clip_P, fields = _fields(
      config, material, split, rows, _take(pieces, index_P)
    )
    read = _take(frames, index_P)
    reader = pipeline.Reader(store, read, fields)
    parts[name] = Part(rows, clip_P, read.lengths_P, frame_sizes, reader)
  return parts


def domains(
  config: ml_collections.ConfigDict, material: Material, split: Split
) -> tuple[int, np.ndarray]:
  """How many domains the training part has, and the domain of each clip.

  Clips of other parts, which no adversary sees, have domain 0.
  """
  names_U = {
    "speaker": material.speaker_U,
    "corpus": material.corpus_U,
  }[config.adversary.domain]
  known = np.unique(names_U[split.parts["train"]])
  place_U = np.searchsorted(known, names_U)
  place_U[~np.isin(names_U, known)] = 0
  return len(known), place_U.astype(np.int32)


def check_lengths(system: SpeechSystem, material: Material) -> None:
  """Refuses a corpus with a clip that is too short.

  Raises:
    UserError: names the shortest.
  """
  shortest = material.num_samples_U.argmin()
  samples = material.num_samples_U[shortest]
  if samples < system.min_samples:
    raise UserError(
      f"{material.path_U[shortest]}: {samples} samples, less than the "
      f"{system.min_samples} of one frame of the encoder; leave it out"
    )


def _pieces(config, material) -> pipeline.Pieces:
  everything = np.arange(len(material.num_samples_U))
  return pipeline.cut(material.num_samples_U, everything, sizes(config)[-1])


def _take(pieces: pipeline.Pieces, index_P: np.ndarray) -> pipeline.Pieces:
  return pipeline.Pieces(*(values[index_P] for values in pieces))


def _fields(config, material, split, rows, pieces):
  place = {row: index for index, row in enumerate(rows.tolist())}
  clip_P = np.array([place[row] for row in pieces.row_P.tolist()], np.int32)
  fields = {"clip": clip_P, "label": material.class_U[pieces.row_P]}
  if config.adversary.domain != "none":
    fields["domain"] = domains(config, material, split)[1][pieces.row_P]
  return clip_P, fields
