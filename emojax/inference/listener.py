"""A trained run as it listens: windows and segments of speech to emotions.

C emotions, S samples of 16 kHz with full scale at 1.
"""

import copy
import os
import pathlib
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from emojax import calibration
from emojax.audio.settings import SAMPLE_RATE
from emojax.audio.speech_detection import FRAME
from emojax.encoders.words import Word
from emojax.errors import UserError
from emojax.inference import pauses, transcribers
from emojax.inference.smoothing import UNCERTAIN
from emojax.inference.transcribers import Transcriber
from emojax.runtime import memory
from emojax.systems import stored
from emojax.systems.speech import SpeechSystem

_WINDOW = 5.0  # Seconds, where the run was trained on as much.
_SHORTEST_HOP = 0.1
LEAST_SPEECH = 0.25  # Seconds in a window; one with less is not classified.


class Speech(NamedTuple):
  """A segment between two pauses, float32 [S]; it starts at `start` seconds."""

  start: float
  samples_S: np.ndarray


class Segment(NamedTuple):
  """What was said, and how; times in seconds from the stream's beginning.

  Calibrated probabilities, [C]; `emotion` may be `UNCERTAIN`.
  """

  start: float
  end: float
  emotion: str
  probabilities_C: np.ndarray
  words: list[Word]

  @property
  def text(self) -> str:
    return " ".join(word.text for word in self.words)


class Listener:
  """All that streams share: classifier, transcriber, times; no state."""

  def __init__(
    self,
    system: SpeechSystem,
    params: Any,
    window: float | None = None,
    hop: float = 1.0,
    transcriber: Transcriber | None = None,
  ):
    """A classifier that has been calibrated; see `load`."""
    self.system, self.transcriber = system, transcriber
    self.window = window or min(_WINDOW, system.window_seconds)
    self.hop = hop
    self.window_samples = round(self.window * SAMPLE_RATE)
    self._params = jax.device_put(params)

  @property
  def hop_samples(self) -> int:
    """`hop` in samples."""
    return round(self.hop * SAMPLE_RATE)

  def classify(self, window_S: np.ndarray) -> np.ndarray:
    """Calibrated probabilities of a window, [C].

    It may be shorter than `window_samples`, at a stream's beginning.
    """
    logits_C, _ = self._forward(window_S, self.window_samples)
    return calibration.probabilities(logits_C, self.system.temperature)

  def describe(self, piece: Speech) -> Segment:
    """Emotion and words of a segment, in one pass where the encoder allows."""
    samples_S = piece.samples_S
    size = self.window_samples  # Most segments are no longer.
    if len(samples_S) > size:
      size = pauses.LONGEST * FRAME
    logits_C, outputs = self._forward(samples_S, size)
    probabilities_C = calibration.probabilities(
      logits_C, self.system.temperature
    )
    best = probabilities_C.argmax()
    is_sure = probabilities_C[best] >= self.system.threshold
    found = []
    if self.transcriber is not None:
      found = self.transcriber.transcribe(samples_S, outputs)
    words = [
      Word(word.text, piece.start + word.start, piece.start + word.end)
      for word in found
    ]
    return Segment(
      piece.start,
      piece.start + len(samples_S) / SAMPLE_RATE,
      self.system.classes[best] if is_sure else UNCERTAIN,
      probabilities_C,
      words,
    )

  def fresh(self) -> Self:
    """The same for another signal, whose language may be another."""
    other = copy.copy(self)
    if self.transcriber is not None:
      other.transcriber = self.transcriber.fresh()
    return other

  def warm_up(self) -> None:
    """Compiles all, so that the first window does not wait for it."""
    self.classify(np.zeros(self.window_samples, np.float32))
    for size in (self.window_samples, pauses.LONGEST * FRAME):
      self.describe(Speech(0, np.zeros(size, np.float32)))

  def _forward(self, samples_S: np.ndarray, size: int):
    """Logits [C] and the encoder's outputs, of samples filled up to `size`."""
    audio_BxS = np.zeros((1, size), np.float32)
    audio_BxS[0, : len(samples_S)] = samples_S
    lengths_B = np.array([len(samples_S)], np.int32)
    with memory.explained("the load that other programs put on it"):
      logits_BxC, out = self.system.forward(self._params, audio_BxS, lengths_B)
      return np.asarray(logits_BxC, np.float64)[0], out["encoder"]


def load(
  run: str | os.PathLike,
  window: float | None = None,
  hop: float = 1.0,
  asr: str = "",
  language: str = "",
) -> Listener:
  """Loads a finished run of the speech study, to listen with.

  Args:
    run: its folder.
    window: seconds that are heard at once; None: 5, or as much as the run was
      trained on.
    hop: seconds from one window to the next.
    asr, language: see `transcribers.find`.

  Raises:
    UserError: no such run, one without a calibrated checkpoint or of another
      study; times that make no sense; no such transcriber.
  """
  run = pathlib.Path(run)
  system, params = stored.load(run, SpeechSystem)
  if system.threshold is None or system.level_db is None:
    raise UserError(
      f"{run}: its checkpoint says nothing of when it is uncertain (it was "
      "trained by an older version); train it again"
    )
  longest = min(system.window_seconds, _longest(system))
  shortest = system.encoder.min_samples / system.sample_rate
  least = max(shortest, LEAST_SPEECH)
  if window is not None and not least <= window <= longest:
    raise UserError(
      f"--window={window:g}: this run hears {least:g} to {longest:g} "
      "seconds at once, as in its training"
    )
  most = window or min(_WINDOW, longest)
  if not max(shortest, _SHORTEST_HOP) <= hop <= most:
    raise UserError(
      f"--hop={hop:g}: give {max(shortest, _SHORTEST_HOP):g} seconds or more, "
      "and no more than the window"
    )
  transcriber = transcribers.find(asr, run, system, params, language)
  return Listener(system, params, window, hop, transcriber)


def _longest(system: SpeechSystem) -> float:
  most = system.encoder.max_samples
  return np.inf if most is None else most / system.sample_rate
