"""Transcripts by Whisper, of clips and of recordings of any length.

Radford et al. 2023, section 4.5: windows of 30 s, each beginning where the
transcript of the one before ended; a window that is decoded badly is decoded
again at a higher temperature; one without speech is left out.

  transcriber = whisper.load("openai/whisper-base")  # Or a folder.
  for transcript in transcriber.transcribe(clips): print(transcript.text)
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders import whisper_encoder
from emojax.encoders.whisper_config import HOP, SAMPLES_PER_FRAME, WhisperConfig
from emojax.encoders.whisper_decoding import beams, greedy
from emojax.encoders.whisper_features import log_mel_of_recording
from emojax.encoders.whisper_model import WhisperDecoder, WhisperEncoder
from emojax.encoders.whisper_tokens import Vocabulary
from emojax.errors import UserError
from emojax.weights import checkpoints, hub, json_files

# Of the published code.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MOST_COMPRESSED = 2.4  # Text that compresses better repeats itself.
_LEAST_LOGPROB = -1.0
_NO_SPEECH = 0.6
_STAMP_SECONDS = 0.02
_SILENCE = 1e-4  # -80 dB: of less the model invents words ("you").
_SPECTRA_PER_STAMP = SAMPLES_PER_FRAME // HOP


class Segment(NamedTuple):
  """A part of a transcript, in seconds of its recording."""

  start: float
  end: float
  text: str


class Transcript(NamedTuple):
  """What is said in a recording: '' where nobody speaks."""

  text: str
  language: str  # '' of a checkpoint for English only.
  segments: tuple[Segment, ...]


@dataclasses.dataclass(frozen=True)
class Options:
  """How a transcript is asked for.

  Attributes:
    language: a code such as `en`; '' is found out, for each recording.
    task: `transcribe`, or `translate` into English.
    timestamps: whether segments have times; recordings longer than a window
      always have them.
    num_beams: 1 is greedy; at a temperature above 0 it is drawn.
    temperatures: tried in order, until a transcript is neither repetitive nor
      unlikely.
  """

  language: str = ""
  task: str = "transcribe"
  timestamps: bool = False
  num_beams: int = 1
  temperatures: tuple[float, ...] = TEMPERATURES


@dataclasses.dataclass(frozen=True)
class Transcriber:
  """Encoder and decoder with their weights, and the words.

  `params` has those of `encoder` and `decoder`.
  """

  config: WhisperConfig
  params: dict[str, Any]
  vocabulary: Vocabulary
  dtype: Any = jnp.float32

  def transcribe(
    self,
    clips: Sequence[np.ndarray],
    options: Options = Options(),
    batch_size: int = 8,
  ) -> list[Transcript]:
    """Transcribes recordings [S], 16 kHz, full scale at 1.

    Raises:
      UserError: a clip without a sample, or a language or a task that the
        checkpoint does not have.
    """
    self.vocabulary.check(options.language, options.task)
    pending = [self._open(clip, options) for clip in clips]
    while waiting := [r for r in pending if r.seek < r.num_spectra]:
      group = waiting[:batch_size]
      windows_BxTxM = np.stack([r.window(self._window) for r in group])
      rows = 1 << (len(group) - 1).bit_length()
      padding = [(0, rows - len(group)), (0, 0), (0, 0)]
      states_BxTxD = self.encode(np.pad(windows_BxTxM, padding))
      self._decode(group, states_BxTxD, options)
    return [r.transcript(self.vocabulary) for r in pending]

  @functools.cached_property
  def encode(self):
    """Compiled: spectra [B, T, M] of whole windows to states [B, T, D]."""
    encoder = WhisperEncoder(self.config, True, self.dtype)
    encode = jax.jit(
      lambda params, spectra_BxTxM: encoder.apply(
        {"params": params}, spectra_BxTxM, None
      )["states"]
    )
    return functools.partial(encode, self.params["encoder"])

  def detect(self, states_BxTxD: jax.Array) -> list[str]:
    """The likeliest language of each window; '' where there is but one."""
    if not self.vocabulary.languages:
      return [""] * len(states_BxTxD)
    codes, tokens = zip(*self.vocabulary.languages.items(), strict=True)
    logits_BxV = self._first_logits(self.params["decoder"], states_BxTxD)
    best_B = np.asarray(logits_BxV)[:, list(tokens)].argmax(-1)
    return [codes[index] for index in best_B]

  @property
  def _window(self) -> int:
    return self.config.max_source_positions * _SPECTRA_PER_STAMP

  @functools.cached_property
  def _decoder(self) -> WhisperDecoder:
    return WhisperDecoder(self.config, self.dtype)

  @functools.cached_property
  def _first_logits(self):
    start = self.vocabulary.start

    def first(params, states_BxTxD):
      tokens_BxT = jnp.full((len(states_BxTxD), 1), start)
      read = self._decoder.apply
      return read({"params": params}, states_BxTxD, tokens_BxT, method="read")[
        :, 0
      ]

    return jax.jit(first)

  def _open(self, clip: np.ndarray, options: Options) -> "_Recording":
    if clip.ndim != 1 or not len(clip):
      raise UserError(
        f"a clip of shape {clip.shape}: give one channel of samples, [S]"
      )
    if np.abs(clip).max() < _SILENCE:
      return _Recording(clip[:0, None], options.timestamps, options.language)
    size = self.config.window_samples
    is_long = len(clip) > size
    if not is_long:
      clip = np.pad(clip, (0, size - len(clip)))
    spectra_TxM = log_mel_of_recording(clip, self.config.num_mel_bins)
    timestamps = options.timestamps or is_long
    return _Recording(spectra_TxM, timestamps, options.language)

  def _decode(self, group, states_BxTxD, options: Options) -> None:
    """Adds what is said in a window of each of these recordings."""
    unknown = [r for r in group if not r.language]
    if unknown:
      found = self.detect(states_BxTxD)
      for recording, language in zip(group, found, strict=False):
        recording.language = recording.language or language
    for timestamps in (False, True):
      rows = [i for i, r in enumerate(group) if r.timestamps == timestamps]
      for attempt, temperature in enumerate(options.temperatures):
        if not rows:
          break
        last = attempt == len(options.temperatures) - 1
        decoded = self._ask(
          [group[i] for i in rows],
          states_BxTxD[np.array(rows)],
          options,
          timestamps,
          temperature,
          attempt,
        )
        rows = [
          row
          for row, tokens, logprob, no_speech in zip(
            rows, *decoded, strict=False
          )
          if not self._take(group[row], tokens, logprob, no_speech, last)
        ]

  def _ask(
    self, group, states_BxTxD, options, timestamps, temperature, attempt
  ):
    rules = dataclasses.replace(self.vocabulary.rules, timestamps=timestamps)
    prompts = [
      self.vocabulary.prompt(r.language, options.task, timestamps)
      for r in group
    ]
    rows = 1 << (len(group) - 1).bit_length()
    spare = rows - len(group)
    states = jnp.concatenate([states_BxTxD, states_BxTxD[:1].repeat(spare, 0)])
    prompt = jnp.array(prompts + prompts[:1] * spare)
    params = self.params["decoder"]
    if options.num_beams > 1 and temperature == 0:
      decoded = beams(
        self._decoder, rules, options.num_beams, params, states, None, prompt
      )
    else:
      key = jax.random.fold_in(jax.random.key(0), attempt)
      heat = jnp.float32(temperature)
      decoded = greedy(
        self._decoder, rules, params, states, None, prompt, heat, key
      )
    return jax.device_get(decoded)

  def _take(self, recording, tokens, logprob, no_speech, last) -> bool:
    """Adds a transcript to its recording, if it is good, or the last try."""
    tokens = tokens[tokens != self.vocabulary.rules.end]
    if logprob < _LEAST_LOGPROB and no_speech > _NO_SPEECH:
      recording.skip(self._window)
      return True
    text = self.vocabulary.decode(tokens).encode()
    repeats = len(text) > _MOST_COMPRESSED * len(zlib.compress(text))
    if (repeats or logprob < _LEAST_LOGPROB) and not last:
      return False
    recording.add(tokens, self._window, self.vocabulary.rules.first_stamp)
    return True


class _Recording:
  """Spectra of a recording, and its transcript so far."""

  def __init__(self, spectra_TxM: np.ndarray, timestamps: bool, language: str):
    self.seek, self.timestamps, self.language = 0, timestamps, language
    self._spectra_TxM = spectra_TxM
    # Start and end in seconds, and tokens.
    self._segments: list[tuple[float, float, np.ndarray]] = []

  @property
  def num_spectra(self) -> int:
    return len(self._spectra_TxM)

  def window(self, size: int) -> np.ndarray:
    """The next [T, M]; zeros follow the end."""
    part = self._spectra_TxM[self.seek : self.seek + size]
    return np.pad(part, ((0, size - len(part)), (0, 0)))

  def skip(self, size: int) -> None:
    """Goes on behind the window."""
    self.seek += min(size, self.num_spectra - self.seek)

  def add(self, tokens: np.ndarray, size: int, first_stamp: int) -> None:
    """Cuts a window's tokens in segments where two stamps meet, and goes on.

    What follows the last pair is heard again in the next window, unless it
    ends with a stamp: then nobody speaks any more in this one.
    """
    stamped = tokens >= first_stamp
    ends = (np.flatnonzero(stamped[:-1] & stamped[1:]) + 1).tolist()
    alone = stamped[-2:].tolist() == [False, True]
    offset = self.seek * HOP / 16_000
    if not self.timestamps or not ends:
      length = min(size, self.num_spectra - self.seek)
      seconds = length * HOP / 16_000
      stamps = tokens[stamped]
      if len(stamps) and stamps[-1] != first_stamp:
        seconds = (stamps[-1] - first_stamp) * _STAMP_SECONDS
      self._segments.append((offset, offset + seconds, tokens))
      self.skip(size)
      return
    if alone:
      ends.append(len(tokens))
    else:
      ends[-1] += 1  # With the stamp that begins what is heard again.
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
      part = tokens[start:end]
      is_last = number == len(ends) - 1 and not alone
      stop = part[-2 if is_last else -1]
      times = (np.array([part[0], stop]) - first_stamp) * _STAMP_SECONDS
      self._segments.append((*(offset + times), part))
    if alone:
      self.skip(size)
    else:
      last = tokens[ends[-1] - 2] - first_stamp
      self.seek += int(last) * _SPECTRA_PER_STAMP

  def transcript(self, vocabulary: Vocabulary) -> Transcript:
    segments = tuple(
      Segment(float(start), float(end), vocabulary.decode(tokens))
      for start, end, tokens in self._segments
    )
    everything = [token for *_, tokens in self._segments for token in tokens]
    return Transcript(vocabulary.decode(everything), self.language, segments)


def load(
  name: str, dtype: Any = jnp.float32, *, revision: str | None = None
) -> Transcriber:
  """Loads a checkpoint of Whisper: a folder, or a hub id.

  Raises:
    UserError: nothing there, another architecture, damaged files, or weights
      that do not fit the architecture.
  """
  folder = hub.folder(
    name, revision, (*hub.MODEL_FILES, "generation_config.json")
  )
  encoder = whisper_encoder.Whisper.read(folder, json_files.read_config(folder))
  tensors = checkpoints.open_tensors(folder)
  params = {
    "encoder": whisper_encoder.encoder_params(encoder.config, tensors, folder),
    "decoder": whisper_encoder.decoder_params(encoder.config, tensors, folder),
  }
  return Transcriber(encoder.config, params, Vocabulary.read(folder), dtype)
