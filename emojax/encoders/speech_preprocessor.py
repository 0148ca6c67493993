"""What a speech checkpoint expects of its input, and batches of that kind."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from emojax.encoders.speech_config import SpeechConfig
from emojax.errors import UserError
from emojax.weights import checkpoints, json_files

# The files that transformers writes: the first until its version 4, the second
# from its version 5 on, which has the fields one level deeper.
FILES = ("preprocessor_config.json", "processor_config.json")
_NESTED = ("feature_extractor", "audio_processor")
_CLASS = "Wav2Vec2FeatureExtractor"


@dataclasses.dataclass(frozen=True)
class _Fields:
  """The fields of transformers' class, with its defaults."""

  sampling_rate: int = 16_000
  do_normalize: bool = True
  return_attention_mask: bool = False
  feature_size: int = 1
  padding_value: float = 0.0
  padding_side: str = "right"


@dataclasses.dataclass(frozen=True)
class Preprocessor:
  """What a checkpoint expects of its input.

  Attributes:
    do_normalize: whether each clip gets zero mean and unit variance.
    return_attention_mask: whether the encoder hides the padding.
    min_samples: the shortest clip of which the encoder makes a frame.
  """

  sampling_rate: int
  do_normalize: bool
  return_attention_mask: bool
  min_samples: int

  @classmethod
  def read(cls, folder: pathlib.Path, config: SpeechConfig) -> Self:
    """Reads a checkpoint's file, of any version of transformers.

    Raises:
      UserError: there is none, two contradict one another, or one asks for
        what is not supported.
    """
    found = {file: _fields(folder / file) for file in FILES}
    found = {file: fields for file, fields in found.items() if fields}
    if not found:
      _refuse_without(folder)
    if len(set(found.values())) > 1:
      first, second = map(dataclasses.asdict, found.values())
      differ = [name for name in first if first[name] != second[name]]
      raise UserError(
        f"{folder}: {' and '.join(FILES)} differ in {', '.join(differ)}; "
        "remove the one that the checkpoint was not trained with"
      )
    (fields,) = set(found.values())
    return cls(
      sampling_rate=fields.sampling_rate,
      do_normalize=fields.do_normalize,
      return_attention_mask=fields.return_attention_mask,
      min_samples=config.min_samples,
    )

  def __call__(
    self,
    clips: Sequence[np.ndarray],
    sample_rate: int,
    num_samples: int | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Makes a batch of clips [S], as long as the longest or `num_samples`.

    Returns:
      audio_BxS, float32, zeros after the end of a clip, and lengths_B, int32.

    Raises:
      UserError: no clip, another sample rate, a clip with more than one
        channel, too short, too long or with samples that are no numbers.
    """
    if sample_rate != self.sampling_rate:
      raise UserError(
        f"clips of {sample_rate} Hz: the encoder takes {self.sampling_rate} "
        "Hz; resample them (`emojax.audio.io.read` does)"
      )
    if not len(clips):
      raise UserError("an empty batch: give at least one clip")
    clips = [np.asarray(clip, np.float32) for clip in clips]
    lengths_B = np.array([clip.shape[-1] for clip in clips], np.int32)
    longest = lengths_B.max() if num_samples is None else num_samples
    audio_BxS = np.zeros((len(clips), longest), np.float32)
    for index, clip in enumerate(clips):
      self._check(index, clip, longest)
      if self.do_normalize:
        # As in PyTorch; each clip by its own samples, with or without a mask.
        clip = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
      audio_BxS[index, : len(clip)] = clip
    return audio_BxS, lengths_B

  def _check(self, index: int, clip: np.ndarray, longest: int) -> None:
    samples, fault = clip.shape[-1], ""
    if clip.ndim != 1:
      fault = f"the shape {clip.shape}: give one channel, [S]"
    elif samples < self.min_samples:
      fault = (
        f"{samples} samples, less than the {self.min_samples} of one frame; "
        "leave it out or pad it"
      )
    elif samples > longest:
      fault = f"{samples} samples, more than the batch's {longest}"
    elif not np.isfinite(clip).all():
      fault = "samples that are NaN or infinite"
    if fault:
      raise UserError(f"clip {index} has {fault}")


def raw_fields(path: pathlib.Path) -> dict[str, Any] | None:
  """The fields of one file; None if it is not there, or of another purpose.

  Raises:
    UserError: it is damaged.
  """
  try:
    given = json_files.read(path)
  except FileNotFoundError:
    return None
  nested = [given[name] for name in _NESTED if given.get(name) is not None]
  if not nested and path.name != FILES[0]:
    return None
  fields = nested[0] if nested else given
  if not isinstance(fields, dict):
    raise UserError(f"{path}: {fields!r:.80} is no feature extractor")
  return fields


def _fields(path: pathlib.Path) -> _Fields | None:
  fields = raw_fields(path)
  return fields and _known(path, fields)


def _known(path: pathlib.Path, fields: Mapping[str, Any]) -> _Fields:
  kinds = [
    fields[name]
    for name in ("feature_extractor_type", "audio_processor_type")
    if name in fields
  ]
  if any(kind != _CLASS for kind in kinds):
    raise UserError(
      f"{path}: of a {kinds[0]}, and clips are prepared as a {_CLASS} does; "
      "choose another checkpoint"
    )
  known = _Fields(**json_files.known_fields(_Fields, fields, str(path)))
  fixed = {
    "feature_size": (known.feature_size, 1),
    "padding_value": (known.padding_value, 0.0),
    "padding_side": (known.padding_side, "right"),
  }
  for name, (value, only) in fixed.items():
    if value != only:
      raise UserError(
        f"{path}: {name} = {value!r} is not supported, only {only!r}; choose "
        "another checkpoint"
      )
  if known.sampling_rate < 1:
    raise UserError(f"{path}: sampling_rate = {known.sampling_rate}")
  return known


def _refuse_without(folder: pathlib.Path) -> None:
  """Without its file nobody knows what numbers the encoder was trained on."""
  if checkpoints.has_weights(folder):
    # A clone without git-lfs, or half a download, has more that is wrong.
    checkpoints.open_tensors(folder)
  example = {"do_normalize": True, "return_attention_mask": False}
  raise UserError(
    f"{folder}: no {FILES[0]}, so nobody knows whether the encoder takes clips "
    "normalised: copy that of the model it was trained from, or write one: "
    f"{json.dumps({**example, 'sampling_rate': 16_000})}, but do_normalize "
    "false if it was trained on clips as they are, and return_attention_mask "
    "true if padding was masked"
  )
