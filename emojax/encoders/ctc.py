"""Transcripts by wav2vec 2.0, HuBERT or WavLM, fine-tuned with CTC.

Graves et al. 2006, "Connectionist temporal classification": each frame says a
token or the blank; repeats are one.

  transcriber = ctc.load("facebook/wav2vec2-base-960h")  # Or a folder.
  for words in transcriber.transcribe(clips): print(*words)
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.audio.settings import SAMPLE_RATE
from emojax.encoders import speech, tokenizing
from emojax.encoders.speech_model import CTC
from emojax.encoders.words import Word
from emojax.errors import UserError
from emojax.weights import checkpoints, json_files

_HEAD = "lm_head.weight"
_TOKENIZER = "Wav2Vec2CTCTokenizer"


@dataclasses.dataclass(frozen=True)
class Transcriber(speech.Pretrained):
  """A speech encoder with a CTC head and the tokenizer that belongs to it."""

  tokenizer: Any

  def transcribe(
    self, clips: Sequence[np.ndarray], num_samples: int | None = None
  ) -> list[list[Word]]:
    """The words of clips [S], 16 kHz, full scale at 1, with their times.

    Greedy: the likeliest token of each frame. Clips are filled up to the
    longest, or to `num_samples`; what is in the other clips changes nothing.

    Raises:
      UserError: as `Preprocessor`; a checkpoint of another sample rate.
    """
    audio_BxS, lengths_B = self.preprocess(clips, SAMPLE_RATE, num_samples)
    outputs = self._forward(self.params, audio_BxS, lengths_B)
    best_BxT = np.asarray(outputs["logits"]).argmax(axis=-1)
    masks_BxT = np.asarray(outputs["mask"])
    return [
      self.words(tokens_T[mask_T])
      for tokens_T, mask_T in zip(best_BxT, masks_BxT, strict=True)
    ]

  @functools.cached_property
  def _forward(self):
    """Compiled."""
    return jax.jit(lambda params, *x: self.model.apply({"params": params}, *x))

  def words(self, tokens_T: np.ndarray) -> list[Word]:
    """What the likeliest tokens of a clip's frames say."""
    seconds = self.config.samples_per_frame / SAMPLE_RATE
    decoded = self.tokenizer.decode(tokens_T, output_word_offsets=True)
    return [
      Word(
        found["word"],
        float(found["start_offset"] * seconds),
        float(found["end_offset"] * seconds),
      )
      for found in decoded["word_offsets"]
    ]


def load(
  name: str, dtype: Any = jnp.float32, *, revision: str | None = None
) -> Transcriber:
  """Loads a transcriber: an encoder fine-tuned with CTC, and its tokenizer.

  Args:
    name: a folder in the layout of Hugging Face, or a hub id.
    dtype: type of the computation, float32 or bfloat16.
    revision: branch, tag or commit of the hub's repository.

  Raises:
    UserError: as `speech.load`; or there is no CTC head, no tokenizer, or one
      of phonemes or of several languages.
  """
  folder, config, preprocess = speech.open_checkpoint(name, revision)
  tensors = checkpoints.open_tensors(folder)
  if not any(f".{name}".endswith(f".{_HEAD}") for name in tensors):
    raise UserError(
      f"{folder}: an encoder without a CTC head (lm_head); choose a checkpoint "
      "fine-tuned for transcription"
    )
  tokenizer = _tokenizer(folder)
  # Padding is hidden also from base models: so a clip's words are those of the
  # clip alone.
  model = CTC(config, True, dtype)
  family = f"{config.model_type}."
  params = speech.load_params(model, tensors, folder, within=family)
  return Transcriber(config, model, params, preprocess, tokenizer)


def _tokenizer(folder: pathlib.Path):
  # Imported where it is needed: it takes seconds.
  from transformers import Wav2Vec2CTCTokenizer

  vocabulary = folder / "vocab.json"
  try:
    tokens = json_files.read(vocabulary)
  except FileNotFoundError as error:
    raise UserError(
      f"{folder}: no vocab.json, which the transcript needs"
    ) from error
  if not all(type(token) is int for token in tokens.values()):
    raise UserError(
      f"{vocabulary}: expected one number for each token; of several languages "
      "keep that of the head"
    )
  settings = folder / "tokenizer_config.json"
  kind = _TOKENIZER
  if settings.is_file():
    kind = json_files.read(settings).get("tokenizer_class") or kind
  if kind not in (_TOKENIZER, "Wav2Vec2Tokenizer"):
    raise UserError(
      f"{settings}: a {kind!r:.80}, and transcripts are of letters "
      f"({_TOKENIZER}); choose another checkpoint"
    )
  with tokenizing.explained(folder):
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(
      folder, local_files_only=True
    )
  if tokenizer.pad_token not in tokens:
    raise UserError(
      f"{vocabulary}: has no {tokenizer.pad_token!r:.80}, which is the blank; "
      "take the file of this checkpoint"
    )
  return tokenizer
