"""Pretrained speech encoders: loading, preprocessing, transcription.

encoder = speech.load("microsoft/wavlm-base-plus")  # Or a local folder.
audio_BxS, lengths_B = encoder.preprocess(clips, 16_000)
outputs = encoder.model.apply({"params": encoder.params}, audio_BxS, lengths_B)
"""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_model import CTC, SpeechEncoder
from emojax.errors import UserError
from emojax.weights import checkpoints, hub

_log = logging.getLogger(__name__)

# Parts of a checkpoint that only its pretraining or its fine-tuning needs.
_HEADS = (
  r"lm_head\.",
  r"quantizer\.",
  r"project_hid\.",
  r"project_q\.",
  r"projector\.",
  r"classifier\.",
  r"layer_weights$",
  r"tdnn\.",
  r"feature_extractor\.(weight|bias)$",  # The x-vector's, which has no prefix.
  r"objective\.",
  r"masked_spec_embed$",
)


@dataclasses.dataclass(frozen=True)
class Preprocessor:
  """What a checkpoint expects of its input: `preprocessor_config.json`.

  Attributes:
    sampling_rate: samples a second.
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
    """Makes a batch.

    Args:
      clips: B recordings, each [S] of any length.
      sample_rate: samples a second of all of them.
      num_samples: length of the batch; None: that of the longest clip.

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
    if clip.ndim != 1:
      raise UserError(
        f"clip {index} has the shape {clip.shape}: give one channel, [S]"
      )
    if len(clip) < self.min_samples:
      raise UserError(
        f"clip {index} has {len(clip)} samples, less than the "
        f"{self.min_samples} of one frame; leave it out or pad it"
      )
    if len(clip) > longest:
      raise UserError(
        f"clip {index} has {len(clip)} samples, more than the batch's {longest}"
      )
    if not np.isfinite(clip).all():
      raise UserError(f"clip {index} has samples that are NaN or infinite")


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A speech encoder with its weights.

  Attributes:
    config: the architecture.
    model: a `SpeechEncoder`, or a `CTC`.
    params: its parameters, float32.
    preprocess: makes batches as the encoder expects them.
    revision: commit of the hub's repository; '' for a local folder.
  """

  config: SpeechConfig
  model: nn.Module
  params: Any
  preprocess: Preprocessor
  revision: str


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
  return Pretrained(
    config,
    model,
    _encoder_params(model, tensors, folder),
    preprocess,
    hub.revision_of(folder),
  )


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
  head = {"lm_head": _shapes(model, config)["lm_head"]}
  params = {
    config.model_type: _encoder_params(encoder, tensors, folder),
    **checkpoints.load_params(
      tensors, head, source=str(folder), ignored=(r"(?!lm_head\.)",)
    ),
  }
  return Transcriber(
    config,
    model,
    params,
    preprocess,
    hub.revision_of(folder),
    Wav2Vec2CTCTokenizer.from_pretrained(folder),
  )


def _open(name, revision):
  folder = hub.folder(name, revision)
  fields = checkpoints.read_config(folder)
  config = SpeechConfig.from_json(fields, str(folder / "config.json"))
  return folder, config, Preprocessor.read(folder, config)


def _shapes(model: nn.Module, config: SpeechConfig):
  audio_BxS = jax.ShapeDtypeStruct((1, config.min_samples), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), audio_BxS)["params"]


def _encoder_params(model: SpeechEncoder, tensors, folder: pathlib.Path):
  config = model.config
  shapes = dict(_shapes(model, config))
  drawn = {}
  prefix = f"{config.model_type}."
  embedding = "masked_spec_embed"
  names = {embedding, prefix + embedding}
  if embedding in shapes and not any(name in tensors for name in names):
    # Facebook's fine-tuned wav2vec 2.0 models lack it; only training needs it.
    shape = shapes.pop(embedding)
    drawn[embedding] = jax.random.uniform(jax.random.key(0), shape.shape)
    _log.info("%s has no %s: drawn at random", folder, embedding)
  loaded = checkpoints.load_params(
    tensors, shapes, source=str(folder), prefix=prefix, ignored=_HEADS
  )
  return {**loaded, **drawn}
