"""The wav2vec 2.0 family behind the interface of speech encoders."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Self

import jax
from flax import linen as nn

from emojax.encoders import speech
from emojax.encoders.interface import Encoder
from emojax.encoders.speech_config import FAMILIES, SpeechConfig
from emojax.encoders.speech_model import SpeechEncoder


@dataclasses.dataclass(frozen=True)
class Wav2Vec2(Encoder):
  """wav2vec 2.0, HuBERT or WavLM.

  Attributes:
    config: the architecture.
    do_normalize: whether clips get zero mean and unit variance.
    sample_rate: of its input.
  """

  config: SpeechConfig
  do_normalize: bool = True
  sample_rate: int = 16_000
  kinds = FAMILIES
  masks = True
  training_only = ("masked_spec_embed",)

  @property
  def kind(self) -> str:
    return self.config.model_type

  @property
  def num_layers(self) -> int:
    return self.config.num_hidden_layers

  def module(self, dtype: Any, remat: bool = False) -> nn.Module:
    # Padding is hidden also from the base models, which were trained without
    # a mask: so a clip's result is that of the clip alone, without padding.
    return SpeechEncoder(self.config, True, dtype, remat)

  def num_frames(self, num_samples):
    return self.config.num_frames(num_samples)

  @property
  def samples_per_frame(self) -> int:
    return self.config.samples_per_frame

  @property
  def min_samples(self) -> int:
    return self.config.min_samples

  def layer_of(self, path: tuple[str, ...]) -> int | None:
    if path[0] != "encoder" or not path[1].startswith("layers_"):
      return None
    return int(path[1].removeprefix("layers_"))

  def preprocess(self, audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
    if not self.do_normalize:
      return audio_BxS
    return super().preprocess(audio_BxS, lengths_B)

  def masked(self, time_share: float, channel_share: float) -> Self:
    return self._with(
      apply_spec_augment=True,
      mask_time_prob=time_share,
      mask_feature_prob=channel_share,
    )

  def without_dropout(self) -> Self:
    names = [field.name for field in dataclasses.fields(self.config)]
    rates = [name for name in names if name.endswith("_dropout")]
    return self._with(**dict.fromkeys([*rates, "layerdrop"], 0.0))

  @classmethod
  def read(cls, folder: pathlib.Path, fields: Mapping[str, Any]) -> Self:
    config = SpeechConfig.from_json(fields, str(folder / "config.json"))
    preprocess = speech.Preprocessor.read(folder, config)
    return cls(config, preprocess.do_normalize, preprocess.sampling_rate)

  def load(self, folder: pathlib.Path) -> Any:
    return speech.load(str(folder)).params

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    config = SpeechConfig.from_json(fields["config"], "encoder")
    return cls(**{**fields, "config": config})

  def _with(self, **changes) -> Self:
    config = dataclasses.replace(self.config, **changes)
    return dataclasses.replace(self, config=config)


# One that trains from scratch on two cores: few and narrow layers, 20 ms a
# frame, ReLU instead of GELU.
SMALL = Wav2Vec2(
  SpeechConfig(
    hidden_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=192,
    feat_extract_norm="group",
    feat_extract_activation="relu",
    conv_dim=(32, 64, 64, 96),
    conv_kernel=(20, 8, 8, 4),
    conv_stride=(10, 4, 4, 2),
    conv_bias=True,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    layerdrop=0.0,
  )
)
