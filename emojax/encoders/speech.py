"""The wav2vec 2.0 family: loading, preprocessing.

encoder = speech.load("microsoft/wavlm-base-plus")  # Or a local folder.
audio_BxS, lengths_B = encoder.preprocess(clips, 16_000)
outputs = encoder.model.apply({"params": encoder.params}, audio_BxS, lengths_B)
"""

import dataclasses
import logging
import operator
import pathlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.encoders.interface import Encoder
from emojax.encoders.speech_config import FAMILIES, SpeechConfig
from emojax.encoders.speech_model import SpeechEncoder
from emojax.encoders.speech_preprocessor import Preprocessor
from emojax.weights import checkpoints, hub, json_files

_log = logging.getLogger(__name__)

_DRAWN = "masked_spec_embed"  # What only training needs, within the encoder.


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A speech encoder with its float32 weights.

  Attributes:
    model: a `SpeechEncoder`, or a `CTC` of `ctc`.
    preprocess: makes batches as the encoder expects them.
  """

  config: SpeechConfig
  model: nn.Module
  params: Any
  preprocess: Preprocessor


def load(
  name: str,
  dtype: Any = jnp.float32,
  *,
  revision: str | None = None,
  remat: bool = False,
) -> Pretrained:
  """Loads an encoder of the wav2vec 2.0, HuBERT or WavLM family.

  Args:
    name: a folder in the layout of Hugging Face, or a hub id.
    dtype: type of the computation, float32 or bfloat16.
    revision: branch, tag or commit of the hub's repository.
    remat: whether the backward pass recomputes each layer, to save memory.

  Raises:
    UserError: nothing there, another architecture, damaged files, or weights
      that do not fit the architecture.
  """
  folder, config, preprocess = open_checkpoint(name, revision)
  model = SpeechEncoder(config, preprocess.return_attention_mask, dtype, remat)
  tensors = checkpoints.open_tensors(folder)
  family = f"{config.model_type}."
  params = load_params(model, tensors, folder, family)
  return Pretrained(config, model, params, preprocess)


def open_checkpoint(
  name: str, revision: str | None
) -> tuple[pathlib.Path, SpeechConfig, Preprocessor]:
  """The folder of a checkpoint, and what is in it but for the weights.

  Raises:
    UserError: nothing there, another architecture, damaged files.
  """
  folder = hub.folder(name, revision)
  fields = json_files.read_config(folder)
  config = SpeechConfig.from_json(fields, str(folder / "config.json"))
  return folder, config, Preprocessor.read(folder, config)


def load_params(
  model: nn.Module,
  tensors: checkpoints.Readers,
  folder: pathlib.Path,
  family: str = "",
  within: str = "",
) -> dict[str, Any]:
  """Params of a module with a `config`; `within`: where the encoder's are.

  Raises a UserError where the checkpoint's do not fit.
  """
  samples = jax.ShapeDtypeStruct((1, model.config.min_samples), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), samples)["params"]
  params = checkpoints.load_params(
    tensors,
    shapes,
    source=str(folder),
    family=family,
    optional=(within + _DRAWN,),
    unused=(f"{within}{_DRAWN}$",),
  )
  encoder = params[within.rstrip(".")] if within else params
  if encoder.get(_DRAWN, ()) is None:
    # Facebook's fine-tuned wav2vec 2.0 models lack it; only training needs it.
    shape = (model.config.hidden_size,)
    encoder[_DRAWN] = jax.random.uniform(jax.random.key(0), shape)
    _log.info("%s has no %s: drawn at random", folder, _DRAWN)
  return params


@dataclasses.dataclass(frozen=True)
class Wav2Vec2(Encoder):
  """wav2vec 2.0, HuBERT or WavLM behind the interface of all encoders."""

  config: SpeechConfig
  do_normalize: bool = True
  sample_rate: int = 16_000
  kinds = FAMILIES
  masks = True
  training_only = ("masked_spec_embed",)

  # What the config says.
  kind = property(operator.attrgetter("config.model_type"))
  num_layers = property(operator.attrgetter("config.num_hidden_layers"))
  num_frames = property(operator.attrgetter("config.num_frames"))
  samples_per_frame = property(operator.attrgetter("config.samples_per_frame"))
  min_samples = property(operator.attrgetter("config.min_samples"))

  def module(self, dtype: Any, remat: bool = False) -> nn.Module:
    # Padding is hidden also from the base models, which were trained without
    # a mask: so a clip's result is that of the clip alone, without padding.
    return SpeechEncoder(self.config, True, dtype, remat)

  def layer_of(self, path: tuple[str, ...]) -> int | None:
    if path[0] != "encoder" or not path[1].startswith("layers_"):
      return None
    return int(path[1].removeprefix("layers_"))

  def preprocess(self, audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
    clips = audio_BxS, lengths_B
    return super().preprocess(*clips) if self.do_normalize else audio_BxS

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
    preprocess = Preprocessor.read(folder, config)
    return cls(config, preprocess.do_normalize, preprocess.sampling_rate)

  def load(self, folder: pathlib.Path) -> Any:
    return load(str(folder)).params

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
