"""A speech emotion classifier from its description, and on disk.

The description is plain JSON. Training writes it beside the best weights;
prediction builds the same classifier from it, without any code of training.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn
from safetensors import SafetensorError

from emojax.audio import io
from emojax.encoders import log_mel
from emojax.encoders.log_mel import LogMelEncoder
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_model import SpeechEncoder
from emojax.errors import UserError
from emojax.models.speech_classifier import SpeechClassifier
from emojax.runtime import tensors

STUDY = "speech"
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

_DESCRIPTION = "system.json"
_WEIGHTS = "weights.safetensors"


@dataclasses.dataclass(frozen=True)
class SpeechSystem:
  """What a speech emotion classifier is, but for its weights.

  Attributes:
    encoder: `{"kind": "log_mel", "channels": …}`, or the fields of a
      `SpeechConfig` with its `model_type` as the kind.
    classes: names of the emotions.
    sample_rate: of its input, samples a second.
    normalise: whether clips get zero mean and unit variance.
    window_seconds: the longest piece of a recording that it sees at once.
    dtype: of the encoder's computation, a name in `DTYPES`.
    pooling, weigh_layers, hidden, dropout, num_domains: see
      `SpeechClassifier`.
    temperature: by which logits are divided before the softmax, fitted on the
      validation part; 1 before that.
  """

  encoder: Mapping[str, Any]
  classes: tuple[str, ...]
  sample_rate: int
  normalise: bool
  window_seconds: float
  pooling: str
  weigh_layers: bool
  hidden: int
  dropout: float
  dtype: str = "float32"
  num_domains: int = 0
  temperature: float = 1.0

  def model(self, remat: bool = False) -> SpeechClassifier:
    """The classifier as a Flax module.

    Args:
      remat: whether the backward pass computes the encoder's layers again.
    """
    return SpeechClassifier(
      self._encoder(DTYPES[self.dtype], remat),
      len(self.classes),
      self.pooling,
      self.weigh_layers,
      self.hidden,
      self.dropout,
      self.num_domains,
    )

  def num_frames(self, num_samples):
    """Frames of the encoder for a clip, or for an integer array of clips."""
    if self._is_log_mel:
      return log_mel.num_frames(num_samples, len(self.encoder["channels"]))
    return self._speech_config.num_frames(num_samples)

  @property
  def samples_per_frame(self) -> int:
    """Samples from one frame of the encoder to the next."""
    if self._is_log_mel:
      return log_mel.samples_per_frame(len(self.encoder["channels"]))
    return self._speech_config.samples_per_frame

  @property
  def min_samples(self) -> int:
    """The shortest clip that is taken: what one frame stands for."""
    if self._is_log_mel:
      return self.samples_per_frame
    return self._speech_config.min_samples

  @property
  def num_layers(self) -> int:
    """Transformer layers of the encoder; 0 where it has none."""
    return 0 if self._is_log_mel else self._speech_config.num_hidden_layers

  @property
  def _is_log_mel(self) -> bool:
    return self.encoder["kind"] == "log_mel"

  @property
  def _speech_config(self) -> SpeechConfig:
    fields = dict(self.encoder)
    return SpeechConfig.from_json(
      {"model_type": fields.pop("kind"), **fields}, "encoder"
    )

  def _encoder(self, dtype: Any, remat: bool) -> nn.Module:
    if self._is_log_mel:
      return LogMelEncoder(tuple(self.encoder["channels"]), dtype)
    # Padding is hidden also from the base models, which were trained without
    # a mask: so a clip's result is that of the clip alone, without padding.
    return SpeechEncoder(self._speech_config, True, dtype, remat)

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives."""
    return cls(**{**fields, "classes": tuple(fields["classes"])})

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def log_mel_encoder(channels: Sequence[int]) -> dict[str, Any]:
  """Describes a log-mel encoder."""
  return {"kind": "log_mel", "channels": list(channels)}


def speech_encoder(config: SpeechConfig) -> dict[str, Any]:
  """Describes an encoder of the wav2vec 2.0 family."""
  fields = dataclasses.asdict(config)
  return {"kind": fields.pop("model_type"), **fields}


def to_float(samples: jax.Array) -> jax.Array:
  """int16 samples as float32, full scale at 1."""
  return samples.astype(jnp.float32) / io.FULL_SCALE


def normalise(audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
  """Gives each clip zero mean and unit variance, and zeros after its end.

  As the preprocessors of the speech encoders do, but on the device: augmented
  clips are normalised last.
  """
  mask_BxS = jnp.arange(audio_BxS.shape[1])[None] < lengths_B[:, None]
  count_Bx1 = jnp.maximum(lengths_B, 1)[:, None].astype(jnp.float32)

  def mean(x_BxS):
    return jnp.where(mask_BxS, x_BxS, 0).sum(-1, keepdims=True) / count_Bx1

  centred_BxS = jnp.where(mask_BxS, audio_BxS - mean(audio_BxS), 0)
  variance_Bx1 = mean(jnp.square(centred_BxS))
  return centred_BxS * jax.lax.rsqrt(variance_Bx1 + 1e-7)


def save_description(path: pathlib.Path, system: SpeechSystem) -> None:
  """Writes `system.json`."""
  text = json.dumps({"study": STUDY, **system.to_json()}, indent=2)
  path.write_text(text + "\n")


def files(folder: str, system: SpeechSystem, params: Any) -> dict:
  """What a run's results hold of a system: writers by file name."""
  return {
    f"{folder}/{_WEIGHTS}": lambda path: tensors.save(path, params),
    f"{folder}/{_DESCRIPTION}": lambda path: save_description(path, system),
  }


def find(run: pathlib.Path) -> pathlib.Path:
  """The folder of a run's model: that of its best initialisation.

  Raises:
    UserError: no finished run of this study.
  """
  try:
    summary = json.loads((run / "summary.json").read_text())
  except OSError as error:
    raise UserError(
      f"{run}: no finished run (it has no summary.json); train it first, with "
      "launch.py --config=configs/speech.py"
    ) from error
  except ValueError as error:
    raise UserError(f"{run / 'summary.json'}: damaged ({error})") from error
  if not isinstance(summary, dict) or summary.get("study") != STUDY:
    raise UserError(
      f"{run}: a run of another study, which has no speech emotion classifier; "
      "name a run of configs/speech.py"
    )
  return run / "model"


def load(folder: pathlib.Path) -> tuple[SpeechSystem, Any]:
  """Reads a system and its parameters, NumPy arrays.

  Raises:
    UserError: there is none, it is of another study, or it is damaged.
  """
  path = folder / _DESCRIPTION
  try:
    fields = json.loads(path.read_text())
    study = fields.pop("study")
    if study != STUDY:
      raise UserError(
        f"{folder}: a model of the {study} study, not of the speech study; "
        "name a run of configs/speech.py"
      )
    system = SpeechSystem.from_json(fields)
    if not (system.temperature > 0 and system.window_seconds > 0):
      raise ValueError("temperature and window_seconds have to be above 0")
    system.model()  # Finds what is missing or of another type.
    params = tensors.load(folder / _WEIGHTS)
  except FileNotFoundError as error:
    raise UserError(
      f"{error.filename}: no such file; name the folder of a finished run of "
      "configs/speech.py"
    ) from error
  except (ValueError, KeyError, TypeError, SafetensorError) as error:
    raise UserError(f"{folder}: damaged ({error}); train it again") from error
  return system, params
