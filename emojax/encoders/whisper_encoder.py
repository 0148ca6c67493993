"""Whisper's encoder behind the interface, and its weights.

Radford et al. 2023, "Robust speech recognition via large-scale weak
supervision".
"""

import dataclasses
import operator
import pathlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.audio.settings import SAMPLE_RATE
from emojax.encoders import speech_preprocessor
from emojax.encoders.interface import Encoder
from emojax.encoders.whisper_config import (
  HOP,
  SAMPLES_PER_FRAME,
  WhisperConfig,
)
from emojax.encoders.whisper_decoder import WhisperDecoder
from emojax.encoders.whisper_model import WhisperEncoder
from emojax.errors import UserError
from emojax.weights import checkpoints

# What the spectrogram is made of; a file that says otherwise is refused.
_PUBLISHED = {
  "feature_extractor_type": "WhisperFeatureExtractor",
  "sampling_rate": SAMPLE_RATE,
  "hop_length": HOP,
  "n_fft": 400,
  "padding_value": 0.0,
  "dither": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Whisper(Encoder):
  """Whisper's encoder behind the interface of all encoders.

  Attributes:
    window: whether clips are filled up to 30 s with silence; see
      `WhisperEncoder`.
  """

  config: WhisperConfig
  window: bool = False
  kinds = ("whisper",)
  masks = True
  pads = True

  # What the config says.
  num_layers = property(operator.attrgetter("config.encoder_layers"))
  max_samples = property(operator.attrgetter("config.window_samples"))

  def module(self, dtype: Any, remat: bool = False) -> nn.Module:
    return WhisperEncoder(self.config, self.window, dtype, remat)

  def num_frames(self, num_samples):
    return -(-num_samples // SAMPLES_PER_FRAME)

  @property
  def samples_per_frame(self) -> int:
    return SAMPLES_PER_FRAME

  @property
  def min_samples(self) -> int:
    return SAMPLES_PER_FRAME

  def layer_of(self, path: tuple[str, ...]) -> int | None:
    if not path[0].startswith("layers_"):
      return None
    return int(path[0].removeprefix("layers_"))

  def preprocess(self, audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
    del lengths_B  # The spectrogram is scaled, not the samples.
    return audio_BxS

  def masked(self, time_share: float, channel_share: float) -> Self:
    return self._with(
      apply_spec_augment=True,
      mask_time_prob=time_share,
      mask_feature_prob=channel_share,
    )

  def padded(self) -> Self:
    return dataclasses.replace(self, window=True)

  def without_dropout(self) -> Self:
    return self._with(
      dropout=0.0,
      attention_dropout=0.0,
      activation_dropout=0.0,
      encoder_layerdrop=0.0,
    )

  @classmethod
  def read(cls, folder: pathlib.Path, fields: Mapping[str, Any]) -> Self:
    config = WhisperConfig.from_json(fields, str(folder / "config.json"))
    _check_features(folder, config)
    return cls(config)

  def load(self, folder: pathlib.Path) -> Any:
    tensors = checkpoints.open_tensors(folder)
    return encoder_params(self.config, tensors, folder)

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    config = WhisperConfig.from_json(fields["config"], "encoder")
    return cls(**{**fields, "config": config})

  def _with(self, **changes) -> Self:
    config = dataclasses.replace(self.config, **changes)
    return dataclasses.replace(self, config=config)


def encoder_params(
  config: WhisperConfig, tensors: checkpoints.Readers, folder: pathlib.Path
) -> Any:
  """The float32 weights of `WhisperEncoder`."""
  audio_BxS = jnp.zeros((1, SAMPLES_PER_FRAME))
  arguments = jax.random.key(0), audio_BxS, jnp.full(1, SAMPLES_PER_FRAME)
  shapes = jax.eval_shape(WhisperEncoder(config).init, *arguments)["params"]
  return _params(tensors, shapes, folder, "encoder")


def decoder_params(
  config: WhisperConfig, tensors: checkpoints.Readers, folder: pathlib.Path
) -> Any:
  """The float32 weights of `WhisperDecoder`."""
  decoder = WhisperDecoder(config)
  states_BxTxD = jnp.zeros((1, 1, config.d_model))

  def init(key):
    tokens_BxT = jnp.zeros((1, 1), int)
    return decoder.init(key, states_BxTxD, tokens_BxT, method="teacher_forced")

  shapes = jax.eval_shape(init, jax.random.key(0))["params"]
  return _params(tensors, shapes, folder, "decoder")


def _params(tensors, shapes, folder, part):
  """Of one part, whose names begin with `model.encoder.` or the like."""
  own = {n: read for n, read in tensors.items() if part in n.split(".")}
  if not own:
    raise UserError(
      f"{folder}: the weights have no {part}; take a checkpoint of Whisper in "
      "the layout of transformers"
    )
  return checkpoints.load_params(
    own, shapes, source=str(folder), family=f"{part}."
  )


def _check_features(folder: pathlib.Path, config: WhisperConfig) -> None:
  """Refuses a preprocessor of other spectra than those of the model."""
  expected = {**_PUBLISHED, "feature_size": config.num_mel_bins}
  for file in speech_preprocessor.FILES:
    fields = speech_preprocessor.raw_fields(folder / file) or {}
    for name, value in expected.items():
      if fields.get(name, value) != value:
        raise UserError(
          f"{folder / file}: {name} = {fields[name]!r:.80}, and the model of "
          f"config.json takes {value!r}; take both files from one checkpoint"
        )
