"""Transcripts by Whisper, of clips and of recordings of any length.

Radford et al. 2023, section 4.5: windows of 30 s, each beginning where the
transcript of the one before ended; a window that is decoded badly is decoded
again at a higher temperature; one without speech is left out. The published
code shows a window the text of the one before, too; here each is by itself, so
that nothing is said again because it was said before.

  transcriber = whisper.load("openai/whisper-base")  # Or a folder.
  for transcript in transcriber.transcribe(clips): print(transcript.text)
"""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders import whisper_encoder, whisper_words
from emojax.encoders.whisper_config import HOP, SAMPLES_PER_FRAME, WhisperConfig
from emojax.encoders.whisper_decoder import KeyValues, WhisperDecoder
from emojax.encoders.whisper_decoding import (
  Decoded,
  beams,
  cross_cache,
  first_logits,
  greedy,
  rows_of,
)
from emojax.encoders.whisper_features import log_mel_of_recording
from emojax.encoders.whisper_model import WhisperEncoder
from emojax.encoders.whisper_segments import Recording, Transcript
from emojax.encoders.whisper_tokens import Vocabulary
from emojax.errors import UserError
from emojax.weights import checkpoints, hub, json_files

# Of the published code.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MOST_COMPRESSED = 2.4  # Text that compresses better repeats itself.
_LEAST_LOGPROB = -1.0
_NO_SPEECH = 0.6
_SILENT_BAND = -0.5  # Of a spectrum, behind speech of the usual level.
_SILENCE = 1e-4  # -80 dB: of less the model invents words ("you").
_OUTPUT = "proj_out.weight"


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
    words: whether a transcript has its words, with their times.
  """

  language: str = ""
  task: str = "transcribe"
  timestamps: bool = False
  num_beams: int = 1
  temperatures: tuple[float, ...] = TEMPERATURES
  words: bool = False

  def __post_init__(self):
    """Raises a UserError for what would never end, or not be what was meant."""
    if self.num_beams < 1:
      raise UserError(f"num_beams = {self.num_beams}: has to be 1 or more")
    if not self.temperatures or min(self.temperatures) < 0:
      raise UserError(
        f"temperatures = {self.temperatures}: give one at least, none below 0"
      )


@dataclasses.dataclass(frozen=True)
class Transcriber:
  """Encoder and decoder with their weights, and the words.

  `params` has those of `encoder` and `decoder`.
  """

  config: WhisperConfig
  params: dict[str, Any]
  vocabulary: Vocabulary
  heads: whisper_words.Heads
  dtype: Any = jnp.float32

  def transcribe(
    self,
    clips: Sequence[np.ndarray],
    options: Options = Options(),
    batch_size: int = 8,
  ) -> list[Transcript]:
    """Transcribes recordings of any length [S], 16 kHz, full scale at 1.

    Each in windows of 30 s, the last one filled up with silence.

    Raises:
      UserError: a clip without a sample, of more than one channel, of integers
        or with NaN; a language or a task that the checkpoint does not have.
    """
    self.vocabulary.check(options.language, options.task)
    for number, clip in enumerate(clips):
      _check_clip(number, clip)
    recordings, active, waiting = [], [], iter(clips)
    while active or len(recordings) < len(clips):
      # Only these have their spectra in memory.
      for clip in itertools.islice(waiting, batch_size - len(active)):
        recording, spectra_TxM = self._open(clip, options)
        recordings.append(recording)
        active.append((recording, spectra_TxM))
      active = [x for x in active if x[0].seek < x[0].num_spectra]
      if active:
        self._read_windows(active, options)
    return [recording.transcript(self.vocabulary) for recording in recordings]

  def transcribe_states(
    self,
    states_BxTxD: jax.Array,
    mask_BxT: jax.Array | None = None,
    options: Options = Options(),
  ) -> list[Transcript]:
    """Transcribes clips that Whisper's encoder has read already.

    So one pass of the encoder serves emotion and transcript: `SpeechClassifier`
    gives the outputs of its encoder with the logits; those of `encode` are for
    its `classify`.

    Behind the frames of a clip come the states of silence, up to 30 s. Without
    them the decoder does not hear that a clip ends: of 48 clips of RAVDESS,
    cropped to their length, it said 44 over and over until it had to stop. With
    silence the word error rate of 24 clips was 1.4 %.

    Args:
      states_BxTxD: the encoder's `last_hidden_state` with its `mask`, or its
        `states` without. Of an encoder that was trained further the decoder
        understands what it still says as the published one does.
      mask_BxT: true for the frames of a clip itself; None: all are.
      options: see there.

    Raises:
      UserError: as `transcribe`; more frames than those of 30 s.
    """
    self.vocabulary.check(options.language, options.task)
    batch, frames, _ = states_BxTxD.shape
    if frames > self.config.max_source_positions:
      raise UserError(
        f"states of {frames} frames: Whisper hears "
        f"{self.config.max_source_positions} at once; cut the recording, or "
        "give it to transcribe"
      )
    frames_B = np.full(batch, frames)
    if mask_BxT is not None:
      frames_B = np.asarray(mask_BxT).sum(1)
    group = [
      Recording(int(spectra), options.timestamps, options.language)
      for spectra in frames_B * (SAMPLES_PER_FRAME // HOP)
    ]
    silence_TxD = self._silence
    own_BxT = np.arange(len(silence_TxD))[None] < frames_B[:, None]
    states_BxTxD = jnp.pad(
      jnp.asarray(states_BxTxD, self.dtype),
      ((0, 0), (0, len(silence_TxD) - frames), (0, 0)),
    )
    states_BxTxD = jnp.where(
      own_BxT[..., None], states_BxTxD, silence_TxD[None]
    )
    self._decode(group, states_BxTxD, options)
    return [recording.transcript(self.vocabulary) for recording in group]

  def encode(
    self, audio_BxS: jax.Array, lengths_B: jax.Array
  ) -> dict[str, Any]:
    """The encoder's outputs of clips of up to 30 s, filled up to 30 s.

    `hidden_states` and `mask` are what an emotion classifier reads; `states`
    are for `transcribe_states`. See `WhisperEncoder`.
    """
    return self._encode_audio(self.params["encoder"], audio_BxS, lengths_B)

  @functools.cached_property
  def _encode_audio(self):
    """Compiled."""
    encoder = WhisperEncoder(self.config, True, self.dtype)
    return jax.jit(
      lambda params, *clips: encoder.apply({"params": params}, *clips)
    )

  @functools.cached_property
  def _encode_spectra(self):
    """Compiled: spectra [B, T, M] of whole windows to states [B, T, D]."""
    encoder = WhisperEncoder(self.config, True, self.dtype)
    return jax.jit(
      lambda params, spectra_BxTxM: encoder.apply(
        {"params": params}, spectra_BxTxM, None
      )["states"]
    )

  @functools.cached_property
  def _silence(self):
    """States [T, D] of a window without a sound."""
    shape = 1, self._window, self.config.num_mel_bins
    spectra_BxTxM = np.full(shape, _SILENT_BAND, np.float32)
    return self._encode_spectra(self.params["encoder"], spectra_BxTxM)[0]

  def _detect(self, cross: list[KeyValues]) -> Iterable[str]:
    """The likeliest language of each window; '' where there is but one."""
    if not self.vocabulary.languages:
      return itertools.repeat("")
    codes, tokens = zip(*self.vocabulary.languages.items(), strict=True)
    logits_BxV = first_logits(
      self._decoder, self.params["decoder"], cross, self.vocabulary.start
    )
    best_B = np.asarray(logits_BxV)[:, list(tokens)].argmax(-1)
    return [codes[index] for index in best_B]

  @property
  def _window(self) -> int:
    """Spectra of a window."""
    return self.config.max_source_positions * (SAMPLES_PER_FRAME // HOP)

  @functools.cached_property
  def _decoder(self) -> WhisperDecoder:
    return WhisperDecoder(self.config, self.dtype)

  def _read_windows(self, active, options: Options) -> None:
    """Adds what is said in the next window of each of these recordings."""
    size = self._window
    windows = [spectra_TxM[r.seek : r.seek + size] for r, spectra_TxM in active]
    # Spare rows are empty: few shapes are compiled.
    windows += [windows[0][:0]] * (_rows(len(windows)) - len(windows))
    windows_BxTxM = np.stack(
      [np.pad(part, ((0, size - len(part)), (0, 0))) for part in windows]
    )
    states_BxTxD = self._encode_spectra(self.params["encoder"], windows_BxTxM)
    self._decode([recording for recording, _ in active], states_BxTxD, options)

  def _open(
    self, clip: np.ndarray, options: Options
  ) -> tuple[Recording, np.ndarray]:
    """Spectra of a clip; none of one in which nothing is to be heard."""
    bands = self.config.num_mel_bins
    if np.abs(clip).max() < _SILENCE:
      spectra_TxM = np.zeros((0, bands), np.float32)
      return Recording(0, False, options.language), spectra_TxM
    size, num_spectra = self.config.window_samples, -(-len(clip) // HOP)
    is_long = len(clip) > size
    if not is_long:
      clip = np.pad(clip, (0, size - len(clip)))
    spectra_TxM = log_mel_of_recording(clip, bands)
    timestamps = options.timestamps or is_long
    num_spectra = min(num_spectra, len(spectra_TxM))
    return Recording(num_spectra, timestamps, options.language), spectra_TxM

  def _decode(self, group, states_BxTxD, options: Options) -> None:
    """Adds what is said in a window of each of these recordings."""
    cross = cross_cache(self._decoder, self.params["decoder"], states_BxTxD)
    if not all(recording.language for recording in group):
      found = self._detect(cross)
      for recording, language in zip(group, found, strict=False):
        recording.language = recording.language or language
    begins = [recording.seek for recording in group]
    for timestamps in (False, True):
      # Of no frame the model would invent words.
      rows = [
        index
        for index, recording in enumerate(group)
        if recording.timestamps == timestamps and recording.num_spectra
      ]
      for attempt, temperature in enumerate(options.temperatures):
        if not rows:
          break
        # Spare rows repeat the first one: few shapes are compiled.
        spare = _rows(len(rows)) - len(rows)
        rows_R = np.array(rows + rows[:1] * spare)
        decoded = self._generate(
          [group[row] for row in rows_R],
          self._cross_of(rows_R, cross),
          *(options, timestamps, temperature, attempt),
        )
        last = attempt == len(options.temperatures) - 1
        rows = [
          row
          for row, *found in zip(rows, *decoded, strict=False)
          if not self._take(group[row], *found, last)
        ]
    if options.words:
      self._place_words(group, begins, cross, options.task)

  def _place_words(self, group, begins, cross, task) -> None:
    """Adds the words of what windows with these first spectra have added."""
    said = {}
    for row, (recording, begin) in enumerate(zip(group, begins, strict=True)):
      tokens = recording.without_words(self.vocabulary.rules.end)
      if tokens:
        prompt = self.vocabulary.prompt(recording.language, task, False)
        # The next window hears again what comes behind its last timestamp.
        frames = recording.frames_since(begin)
        said[row] = whisper_words.Said(prompt, tokens, frames)
    if not said:
      return
    rows = list(said)
    rows_R = np.array(rows + rows[:1] * (_rows(len(rows)) - len(rows)))
    found = whisper_words.find(
      *(self._decoder, self.heads, self.params["decoder"]),
      *(self._cross_of(rows_R, cross), [said[row] for row in rows]),
    )
    for row, starts_N in zip(rows, found, strict=True):
      words = whisper_words.place(
        self.vocabulary, group[row].language, said[row].tokens, starts_N
      )
      group[row].add_words(begins[row], words)

  def _cross_of(
    self, rows_R: np.ndarray, cross: list[KeyValues]
  ) -> list[KeyValues]:
    """What is heard in these windows; of all in their order no copy is made."""
    heads = self.config.decoder_attention_heads
    if np.array_equal(rows_R, np.arange(len(cross[0].key_RxKxN) // heads)):
      return cross
    return rows_of(self._decoder, cross, rows_R)

  def _generate(
    self, group, cross, options, timestamps, temperature, attempt
  ) -> Decoded:
    rules = dataclasses.replace(self.vocabulary.rules, timestamps=timestamps)
    prompt_BxP = np.array(
      [
        self.vocabulary.prompt(recording.language, options.task, timestamps)
        for recording in group
      ]
    )
    arguments = self.params["decoder"], cross, prompt_BxP
    if options.num_beams > 1 and temperature == 0:
      decoded = beams(self._decoder, rules, options.num_beams, *arguments)
    else:
      # Of each window its own, whoever else is decoded with it.
      key = jax.random.fold_in(jax.random.key(0), attempt)
      seek_B = np.array([recording.seek for recording in group], np.uint32)
      key_B = jax.vmap(functools.partial(jax.random.fold_in, key))(seek_B)
      heat = jnp.float32(temperature)
      decoded = greedy(self._decoder, rules, *arguments, heat, key_B)
    return jax.device_get(decoded)

  def _take(self, recording, tokens_N, logprob, no_speech, last) -> bool:
    """Adds a transcript to its recording, if it is good, or the last try."""
    tokens_N = tokens_N[tokens_N != self.vocabulary.rules.end]
    if logprob < _LEAST_LOGPROB and no_speech > _NO_SPEECH:
      recording.skip(self._window)
      return True
    text = self.vocabulary.decode(tokens_N).encode()
    repeats = len(text) > _MOST_COMPRESSED * len(zlib.compress(text))
    if (repeats or logprob < _LEAST_LOGPROB) and not last:
      return False
    first_timestamp = self.vocabulary.rules.first_timestamp
    recording.add(tokens_N, self._window, first_timestamp)
    return True


def _check_clip(number: int, clip: np.ndarray) -> None:
  if clip.ndim != 1 or not len(clip):
    raise UserError(
      f"clip {number}: of shape {clip.shape}; give one channel of samples, [S]"
    )
  if not np.issubdtype(clip.dtype, np.floating):
    raise UserError(
      f"clip {number}: {clip.dtype}; give float32 with full scale at 1"
    )
  if not np.isfinite(clip).all():
    raise UserError(
      f"clip {number}: NaN or infinite samples; decode the recording again"
    )


def _rows(count: int) -> int:
  """A power of two."""
  return 1 << (count - 1).bit_length()


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
  fields = json_files.read_config(folder)
  encoder = whisper_encoder.Whisper.read(folder, fields)
  tensors = checkpoints.open_tensors(folder)
  if not fields.get("tie_word_embeddings", True) and _OUTPUT in tensors:
    raise UserError(
      f"{folder}: {_OUTPUT} beside tie_word_embeddings = false in config.json: "
      "in Whisper the embedding is the output layer, too; take a checkpoint "
      "with tied weights"
    )
  params = {
    "encoder": whisper_encoder.encoder_params(encoder.config, tensors, folder),
    "decoder": whisper_encoder.decoder_params(encoder.config, tensors, folder),
  }
  vocabulary = Vocabulary.read(folder)
  heads = whisper_words.heads_of(folder, encoder.config)
  return Transcriber(encoder.config, params, vocabulary, heads, dtype)
