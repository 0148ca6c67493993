"""The wav2vec 2.0 family: loading, preprocessing, transcription.

encoder = speech.load("microsoft/wavlm-base-plus")  # Or a local folder.
audio_BxS, lengths_B = encoder.preprocess(clips, 16_000)
outputs = encoder.model.apply({"params": encoder.params}, audio_BxS, lengths_B)
"""

import dataclasses
import logging
import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emojax.encoders.interface import Encoder
from emojax.encoders.speech_config import FAMILIES, SpeechConfig
from emojax.encoders.speech_model import CTC, SpeechEncoder
from emojax.errors import UserError
from emojax.weights import checkpoints, hub

_log = logging.getLogger(__name__)

# Parts of a checkpoint that only its pretraining or its fine-tuning needs.
_HEADS = (
  r"(lm_head|quantizer|project_hid|project_q|projector|classifier)\.",
  r"(tdnn|objective)\.",
  r"(layer_weights|masked_spec_embed)$",
  r"feature_extractor\.(weight|bias)$",  # The x-vector's, which has no prefix.
)


@dataclasses.dataclass(frozen=True)
class Preprocessor:
  """What a checkpoint expects of its input: `preprocessor_config.json`.

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
    """Reads a checkpoint's file, or takes what its kind was trained with."""
    if (folder / "preprocessor_config.json").exists():
      fields = checkpoints.read_config(folder, "preprocessor_config.json")
    else:
      fields = {"return_attention_mask": config.feat_extract_norm == "layer"}
      _log.warning(
        "%s has no preprocessor_config.json: clips of 16 kHz are normalised, "
        "padding is %s",
        folder,
        "hidden" if fields["return_attention_mask"] else "zeros",
      )
    return cls(
      sampling_rate=int(fields.get("sampling_rate", 16_000)),
      do_normalize=bool(fields.get("do_normalize", True)),
      return_attention_mask=bool(fields.get("return_attention_mask", False)),
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


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A speech encoder with its float32 weights.

  Attributes:
    model: a `SpeechEncoder`, or a `CTC`.
    preprocess: makes batches as the encoder expects them.
  """

  config: SpeechConfig
  model: nn.Module
  params: Any
  preprocess: Preprocessor


@dataclasses.dataclass(frozen=True)
class Transcriber(Pretrained):
  """A speech encoder with a CTC head and the tokenizer that belongs to it."""

  tokenizer: Any

  def decode(self, logits_BxTxV: np.ndarray, mask_BxT: np.ndarray) -> list[str]:
    """The greedy transcript: the best token of each frame, repeats merged."""
    best_BxT = np.asarray(logits_BxTxV).argmax(axis=-1)
    return [
      self.tokenizer.decode(tokens[mask])
      for tokens, mask in zip(best_BxT, np.asarray(mask_BxT), strict=True)
    ]


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
  folder, config, preprocess = _open(name, revision)
  model = SpeechEncoder(config, preprocess.return_attention_mask, dtype, remat)
  tensors = checkpoints.open_tensors(folder)
  params = _encoder_params(model, tensors, folder)
  return Pretrained(config, model, params, preprocess)


def load_ctc(
  name: str, dtype: Any = jnp.float32, *, revision: str | None = None
) -> Transcriber:
  """Loads a transcriber: an encoder fine-tuned with CTC, and its tokenizer.

  Raises:
    UserError: as `load`; or there is no CTC head, or no tokenizer.
  """
  # Imported where it is needed: it takes seconds.
  from transformers import Wav2Vec2CTCTokenizer

  folder, config, preprocess = _open(name, revision)
  tensors = checkpoints.open_tensors(folder)
  if "lm_head.weight" not in tensors:
    raise UserError(
      f"{folder}: an encoder without a CTC head (lm_head); choose a checkpoint "
      "fine-tuned for transcription"
    )
  if not (folder / "vocab.json").exists():
    raise UserError(f"{folder}: no vocab.json, which the transcript needs")
  arguments = (config, preprocess.return_attention_mask, dtype)
  encoder, model = SpeechEncoder(*arguments), CTC(*arguments)
  head = {"lm_head": _shapes(model)["lm_head"]}
  params = checkpoints.load_params(
    tensors, head, source=str(folder), ignored=(r"(?!lm_head\.)",)
  )
  params[config.model_type] = _encoder_params(encoder, tensors, folder)
  tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder)
  return Transcriber(config, model, params, preprocess, tokenizer)


def _open(name, revision):
  folder = hub.folder(name, revision)
  fields = checkpoints.read_config(folder)
  config = SpeechConfig.from_json(fields, str(folder / "config.json"))
  return folder, config, Preprocessor.read(folder, config)


def _shapes(model: nn.Module):
  audio_BxS = np.zeros((1, model.config.min_samples), np.float32)
  return jax.eval_shape(model.init, jax.random.key(0), audio_BxS)["params"]


def _encoder_params(model: SpeechEncoder, tensors, folder: pathlib.Path):
  shapes = dict(_shapes(model))
  prefix = f"{model.config.model_type}."
  drawn = {}
  name = "masked_spec_embed"
  if name in shapes and not {name, prefix + name} & tensors.keys():
    # Facebook's fine-tuned wav2vec 2.0 models lack it; only training needs it.
    shape = shapes.pop(name).shape
    drawn[name] = jax.random.uniform(jax.random.key(0), shape)
    _log.info("%s has no %s: drawn at random", folder, name)
  loaded = checkpoints.load_params(
    tensors, shapes, source=str(folder), prefix=prefix, ignored=_HEADS
  )
  return {**loaded, **drawn}


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
