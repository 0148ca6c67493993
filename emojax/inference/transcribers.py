"""Words of a segment of speech: by the run's own encoder, or another model.

S samples of 16 kHz, T frames, D features.
"""

import collections
import copy
import logging
import pathlib
from typing import Any, Protocol, Self

import jax
import numpy as np

from emojax.encoders import ctc, whisper, whisper_encoder
from emojax.encoders.speech_config import FAMILIES
from emojax.encoders.whisper_model import WhisperEncoder
from emojax.encoders.words import Word
from emojax.errors import UserError
from emojax.systems.speech import SpeechSystem
from emojax.weights import hub, json_files

NONE = "none"
_LOG = logging.getLogger(__name__)

_FASTER = "faster-whisper"
_SEGMENT = 160_000  # Samples: segments are filled up, so that one shape is.
_SURE = 5  # Segments, after which the language is what most were.
_CONFIGS = (*hub.MODEL_FILES, "generation_config.json")


class Transcriber(Protocol):
  """Words of segments of speech.

  Attributes:
    needs_states: whether it reads what the classifier's encoder gave.
  """

  needs_states: bool

  def transcribe(
    self, samples_S: np.ndarray, outputs: dict[str, Any] | None
  ) -> list[Word]:
    """The words of a segment, in seconds from its beginning; none is [].

    Args:
      samples_S: float32, 16 kHz, full scale at 1; at most 30 s.
      outputs: where it `needs_states`: `out["encoder"]` of the classifier for
        this segment alone, with `last_hidden_state` [1, T, D] and `mask`.
    """

  def fresh(self) -> Self:
    """The same for another signal: it knows nothing of its language yet."""


def find(
  asr: str,
  run: pathlib.Path,
  system: SpeechSystem,
  params: Any,
  language: str = "",
) -> Transcriber | None:
  """Finds what transcribes the speech that a run classifies.

  Args:
    asr: a checkpoint of Whisper, or of the wav2vec 2.0 family with CTC: a
      folder or a hub id; `faster-whisper:SIZE`, or its folder; 'none'. '' is
      the run's own encoder, if that is Whisper: where it was not trained
      further, its states are read and not computed a second time.
    run, system, params: of `systems.speech.load`.
    language: a code such as `en`; '' is found out.

  Raises:
    UserError: no such model, one of another kind, without its decoder or its
      tokenizer, or that does not have the language; the extra is not there.
  """
  if asr == NONE:
    return None
  if not asr:
    return _of_run(run, system, params, language)
  program, _, model = asr.partition(":")
  if program == _FASTER:
    return _FasterWhisper(model, language)
  folder = hub.folder(asr, None, _CONFIGS)
  kind = json_files.read_config(folder).get("model_type")
  if kind == "whisper":
    return _Whisper(whisper.load(str(folder)), False, language)
  if kind not in FAMILIES:
    raise UserError(
      f"--asr={asr}: model_type {kind!r:.80} gives no transcript here; choose "
      f"one of whisper, or of {', '.join(FAMILIES)} with a CTC head"
    )
  if language:
    raise UserError(
      f"--language={language}: {asr} has one language; leave the option out"
    )
  return _Ctc(ctc.load(str(folder)))


def _of_run(run, system, params, language) -> Transcriber | None:
  """By the encoder of a run, if it has a decoder."""
  if not isinstance(system.encoder, whisper_encoder.Whisper):
    return None
  try:
    model = json_files.read(run / "config.json")["model"]
    name, revision = model["encoder"], model["revision"] or None
    found = whisper.load(name, revision=revision)
  except (UserError, LookupError, TypeError, OSError) as error:
    _LOG.warning(
      "no transcript: the checkpoint of the run's encoder is not to be had "
      "(%s); name one with --asr=, or --asr=%s",
      *(error, NONE),
    )
    return None
  published = found.params["encoder"]
  is_published = jax.tree.structure(published) == jax.tree.structure(
    params["encoder"]
  ) and all(
    map(
      np.array_equal,
      jax.tree.leaves(published),
      jax.tree.leaves(params["encoder"]),
    )
  )
  return _Whisper(found, is_published, language)


class _Whisper:
  """Encoder and decoder, or the decoder alone."""

  def __init__(
    self, model: whisper.Transcriber, needs_states: bool, language: str
  ):
    model.vocabulary.check(language, whisper.Options.task)
    self.needs_states = needs_states
    self._model, self._asked, self._language = model, language, language
    self._heard = collections.Counter()
    # Not filled up to 30 s, which would take three times as long.
    encoder = WhisperEncoder(model.config)
    self._encoder = jax.jit(
      lambda params, *clip: encoder.apply({"params": params}, *clip)
    )

  def fresh(self):
    other = copy.copy(self)
    other._language, other._heard = self._asked, collections.Counter()
    return other

  def transcribe(self, samples_S, outputs):
    if not self.needs_states:
      outputs = self._encode(samples_S)
    options = whisper.Options(language=self._language, words=True)
    (found,) = self._model.transcribe_states(
      outputs["last_hidden_state"], outputs["mask"], options
    )
    if not self._language and found.words:
      self._heard[found.language] += 1
      (likeliest, _), *_ = self._heard.most_common(1)
      if self._heard.total() >= _SURE:
        self._language = likeliest
    return list(found.words)

  def _encode(self, samples_S):
    size = min(_filled(len(samples_S)), self._model.config.window_samples)
    audio_1xS = np.zeros((1, size), np.float32)
    audio_1xS[0, : len(samples_S)] = samples_S
    lengths_1 = np.array([len(samples_S)])
    return self._encoder(self._model.params["encoder"], audio_1xS, lengths_1)


class _Ctc:
  """An encoder with a linear layer to letters."""

  needs_states = False

  def __init__(self, model: ctc.Transcriber):
    self._model = model

  def transcribe(self, samples_S, outputs):
    del outputs
    # What is too short for a frame has no word.
    if len(samples_S) < self._model.preprocess.min_samples:
      return []
    (words,) = self._model.transcribe([samples_S], _filled(len(samples_S)))
    return words

  def fresh(self):
    return self


class _FasterWhisper:
  """Whisper by CTranslate2, in eight bits: the extra of this name."""

  needs_states = False

  def __init__(self, model: str, language: str):
    try:
      # Imported where it is needed: it is an extra.
      import faster_whisper
    except ImportError as error:
      raise UserError(
        f"--asr={_FASTER}:{model}: {_FASTER} is not installed; run "
        f"`pip install {_FASTER}`"
      ) from error
    try:
      self._model = faster_whisper.WhisperModel(model or "base")
      known = self._model.supported_languages
    except (ValueError, RuntimeError, OSError) as error:
      raise UserError(
        f"--asr={_FASTER}:{model}: {error}; give a size such as base.en, or a "
        "folder of CTranslate2"
      ) from error
    if language and language not in known:
      raise UserError(f"--language={language}: the model has {' '.join(known)}")
    self._language = language or None

  def transcribe(self, samples_S, outputs):
    del outputs
    segments, _ = self._model.transcribe(
      samples_S, language=self._language, word_timestamps=True
    )
    return [
      Word(word.word.strip(), float(word.start), float(word.end))
      for segment in segments
      for word in segment.words
    ]

  def fresh(self):
    return self


def _filled(size: int) -> int:
  return -(-size // _SEGMENT) * _SEGMENT
