"""When each word of a transcript of Whisper is spoken.

As in the published code (`whisper/timing.py`): some heads of the decoder look
at the sound of the token that comes next. Their attention in a pass over the
whole transcript, normalised over the tokens and smoothed over time, is warped
(dynamic time warping) into one way through tokens and frames.

B transcripts, H heads, N tokens, T frames of 20 ms.
"""

import functools
import pathlib
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from emojax.audio.settings import SAMPLE_RATE
from emojax.encoders.whisper_config import SAMPLES_PER_FRAME, WhisperConfig
from emojax.encoders.whisper_decoder import KeyValues, WhisperDecoder
from emojax.encoders.whisper_tokens import FILE, Vocabulary
from emojax.encoders.words import Word
from emojax.errors import UserError
from emojax.weights import json_files

# Those that follow the sound: layer and number in it.
Heads = tuple[tuple[int, int], ...]

_FRAME_SECONDS = SAMPLES_PER_FRAME / SAMPLE_RATE
_LEAST_TOKENS = 64  # That are read: few shapes are compiled.
# Of the published code.
_SMOOTHED = 7  # Frames.
_LONGEST = 2  # A word behind a pause, in medians of all,
_MEDIAN_SECONDS = 0.7  # of which none is taken for longer.
_ENDS = (".", "。", "!", "！", "?", "？")  # Of sentences.
_BEFORE, _AFTER = "\"'“¡¿([{-", "\"'.。,，!！?？:：”)]}、"
_PUNCTUATION = string.punctuation
_WITHOUT_SPACES = ("zh", "ja", "th", "lo", "my", "yue")
_PARTIAL = "\ufffd"  # A character of which bytes are lacking.


def heads_of(folder: pathlib.Path, config: WhisperConfig) -> Heads:
  """The heads that follow the sound, by the checkpoint's own list.

  Without one all of the upper half of the layers are taken.

  Raises:
    UserError: a list of heads that the decoder does not have.
  """
  layers, heads = config.decoder_layers, config.decoder_attention_heads
  listed = json_files.read(folder / FILE).get("alignment_heads")
  if listed is None:
    upper = range(layers // 2, layers)
    return tuple((layer, head) for layer in upper for head in range(heads))
  try:
    found = tuple((int(layer), int(head)) for layer, head in listed)
  except (TypeError, ValueError):
    found = ()
  if not found or not all(
    0 <= layer < layers and 0 <= head < heads for layer, head in found
  ):
    raise UserError(
      f"{folder / FILE}: alignment_heads = {listed!r:.80} are no heads of "
      f"{layers} layers of {heads}; take the file of this checkpoint"
    )
  return found


class Said(NamedTuple):
  """What is said in a window.

  Attributes:
    prompt: what it was asked with, without timestamps.
    tokens: its text.
    frames: of the window, in which that is said.
  """

  prompt: list[int]
  tokens: list[int]
  frames: int


def find(
  decoder: WhisperDecoder,
  heads: Heads,
  params: Any,
  cross: list[KeyValues],
  said: Sequence[Said],
) -> list[np.ndarray]:
  """When the words of windows begin: see `starts`; for each, `place` reads it.

  Args:
    decoder, heads, params: of a checkpoint.
    cross: what is heard in the windows, of `whisper_decoding.cross_cache`.
    said: in each of them, but the last ones where nobody asks.
  """
  longest = max(len(prompt) + len(tokens) for prompt, tokens, _ in said)
  size = max(_LEAST_TOKENS, 1 << (longest - 1).bit_length())
  size = min(size, decoder.config.max_target_positions)
  heads_per_clip = decoder.config.decoder_attention_heads
  batch = len(cross[0].key_RxKxN) // heads_per_clip
  tokens_BxN = np.zeros((batch, size), int)
  for row, (prompt, tokens, _) in enumerate(said):
    tokens_BxN[row, : len(prompt) + len(tokens)] = prompt + tokens
  weights_BxHxNxT = _attention(decoder, heads, params, cross, tokens_BxN)
  found = []
  for weights_HxNxT, (prompt, tokens, frames) in zip(
    np.asarray(weights_BxHxNxT), said, strict=False
  ):
    # The last token of the prompt looks at the first word.
    first, last = len(prompt) - 1, len(prompt) + len(tokens)
    found.append(starts(weights_HxNxT[:, first:last, :frames]))
  return found


@functools.partial(jax.jit, static_argnames=("decoder", "heads"))
def _attention(
  decoder: WhisperDecoder,
  heads: Heads,
  params: Any,
  cross: list[KeyValues],
  tokens_BxN: jax.Array,
) -> jax.Array:
  """Where the heads look while each token is read, float32 [B, H, N, T]."""
  cache = decoder.start(*tokens_BxN.shape)
  _, kept = decoder.apply(
    {"params": params},
    *(tokens_BxN, 0, cross, cache),
    mutable="intermediates",
  )
  batch, size = tokens_BxN.shape
  chosen = []
  for layer, head in heads:
    (weights_RxNxT,) = kept["intermediates"][f"layers_{layer}"][
      "cross_attention"
    ]
    weights_BxAxNxT = weights_RxNxT.reshape(
      batch, -1, size, weights_RxNxT.shape[-1]
    )
    chosen.append(weights_BxAxNxT[:, head])
  return jnp.stack(chosen, 1)


def starts(weights_HxNxT: np.ndarray) -> np.ndarray:
  """The frame in which what each of N tokens looks at begins, ascending [N]."""
  mean, std = (f(weights_HxNxT, 1, keepdims=True) for f in (np.mean, np.std))
  # Where no token looks all are the same.
  x_HxNxT = (weights_HxNxT - mean) / np.maximum(std, 1e-12)
  if x_HxNxT.shape[-1] > _SMOOTHED // 2:
    x_HxNxT = ndimage.median_filter(x_HxNxT, (1, 1, _SMOOTHED), mode="mirror")
  return cheapest_way(-x_HxNxT.mean(0, dtype=np.float64))


def cheapest_way(cost_NxT: np.ndarray) -> np.ndarray:
  """Dynamic time warping: the column [N] in which the way enters each row.

  The way goes from the first corner to the last one, by a row, a column or
  both at a time, and pays for each place on it.
  """
  rows, columns = cost_NxT.shape
  paid_NxT = np.cumsum(cost_NxT, 1)
  total_NxT = paid_NxT.copy()  # Of the cheapest way to each place.
  entry_NxT = np.zeros((rows, columns), int)
  for row in range(1, rows):
    above_T = total_NxT[row - 1]
    # Entered in column k, column j costs what it took to be in k - 1 or k of
    # the row above, and paid[j] - paid[k - 1].
    enter_T = np.minimum(above_T, np.r_[np.inf, above_T[:-1]])
    enter_T -= np.r_[0, paid_NxT[row, :-1]]
    least_T = np.minimum.accumulate(enter_T)
    is_new_T = np.r_[True, enter_T[1:] < least_T[:-1]]
    entry_NxT[row] = np.maximum.accumulate(np.arange(columns) * is_new_T)
    total_NxT[row] = paid_NxT[row] + least_T
  entered_N, column = np.zeros(rows, int), columns - 1
  for row in range(rows - 1, 0, -1):
    column = entered_N[row] = entry_NxT[row, column]
    above_T = total_NxT[row - 1]
    column -= column > 0 and above_T[column - 1] < above_T[column]
  return entered_N


def place(
  vocabulary: Vocabulary,
  language: str,
  tokens: Sequence[int],
  starts_N: np.ndarray,
) -> list[Word]:
  """The words of a transcript, in seconds of its window.

  `starts_N` are of what comes before the tokens and of each token: what it
  looks at is the next one.
  """
  found = split(vocabulary, language, tokens)
  if not found:
    return []
  texts = [part.text.strip() for part in found]
  begin_W = starts_N[[part.begin for part in found]] * _FRAME_SECONDS
  end_W = starts_N[[part.end for part in found]] * _FRAME_SECONDS
  durations = end_W - begin_W
  if durations.any():
    # A pause before a sentence is taken for a part of its first word.
    is_first_W = [True, *(text.endswith(_ENDS) for text in texts[:-1])]
    median = np.median(durations[durations > 0])
    longest = _LONGEST * min(median, _MEDIAN_SECONDS)
    cut_W = np.maximum(begin_W, end_W - longest)
    begin_W = np.where(is_first_W, cut_W, begin_W)
  return [
    Word(text, float(begin), float(end))
    for text, begin, end in zip(texts, begin_W, end_W, strict=True)
    if text
  ]


class Part(NamedTuple):
  """A word with its punctuation; the tokens of the word without it."""

  text: str
  begin: int
  end: int


def split(
  vocabulary: Vocabulary, language: str, tokens: Sequence[int]
) -> list[Part]:
  """Words: where spaces are, or characters in languages without."""
  words: list[Part] = []
  for part in _characters(vocabulary, tokens):
    begins = part.text.startswith(" ") or part.text.strip() in _PUNCTUATION
    if not words or begins or language in _WITHOUT_SPACES:
      words.append(part)
    else:
      text = words[-1].text + part.text
      words[-1] = Part(text, words[-1].begin, part.end)
  # From the last one to the first: what stands before a word, such as quotes.
  merged: list[Part] = []
  for word in reversed(words):
    if merged and word.text.startswith(" ") and word.text.strip() in _BEFORE:
      merged[-1] = merged[-1]._replace(text=word.text + merged[-1].text)
    else:
      merged.append(word)
  words = []
  for word in reversed(merged):
    if words and word.text in _AFTER and not words[-1].text.endswith(" "):
      words[-1] = words[-1]._replace(text=words[-1].text + word.text)
    else:
      words.append(word)
  return words


def _characters(vocabulary, tokens):
  """Parts of as few tokens as make whole characters."""
  begin = 0
  for end in range(1, len(tokens) + 1):
    text = vocabulary.decode(tokens[begin:end])
    if not text.endswith(_PARTIAL) or end == len(tokens):
      yield Part(text, begin, end)
      begin = end
