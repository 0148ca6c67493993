"""Emotion of a signal as it comes in, window after window.

Every `hop` the last `window` seconds are classified, all of them: at the
beginning what there is. Whatever the pieces in which a signal is fed, the
results are the same.

  stream = Stream(listener.load(RUN), sample_rate=48_000)
  for samples in microphone:
    for found in stream.feed(samples): ...

S samples, C emotions.
"""

import collections
import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soxr

from emojax.audio.settings import SAMPLE_RATE
from emojax.audio.speech_detection import FRAME, SpeechDetector
from emojax.errors import UserError
from emojax.inference import pauses
from emojax.inference.listener import LEAST_SPEECH, Listener, Speech
from emojax.inference.pauses import PER_SECOND, Pauses, Span
from emojax.inference.smoothing import Smoother

_RATES = 1_000, 768_000  # As of recordings.
_SPEECH = 0.5  # Probability above which a frame counts as speech.
_LEVEL_FRAMES = round(30 * PER_SECOND)  # Of speech, whose level counts.
_MOST_GAIN = 30.0  # dB.
_FULL = 0.999
_BLOCK = 1 << 16  # Samples that are resampled at once: it bounds the memory.


class Window(NamedTuple):
  """What is heard in the window that ends at `end` seconds.

  Attributes:
    speech: seconds of it in which somebody speaks.
    probabilities_C: calibrated, of this window; None where nobody speaks.
    smoothed_C: the same averaged over time.
    label: what is to be shown: an emotion, `UNCERTAIN`, or '' for nobody.
  """

  start: float
  end: float
  speech: float
  probabilities_C: np.ndarray | None
  smoothed_C: np.ndarray | None
  label: str


@dataclasses.dataclass
class Counts:
  """What was odd about a signal, in seconds, and what was left out.

  Attributes:
    not_numbers: NaN or infinite samples, heard as silence.
    clipped: samples at full scale.
    lost: what came faster than it was heard, and became silence.
    dropped_windows, dropped_segments: for which the machine was too slow.
  """

  not_numbers: float = 0.0
  clipped: float = 0.0
  lost: float = 0.0
  dropped_windows: int = 0
  dropped_segments: int = 0


class Stream:
  """One signal from its beginning to its end, in bounded memory."""

  def __init__(self, listener: Listener, sample_rate: int):
    """A signal with so many samples a second.

    Raises:
      UserError: no rate that a recording has; no speech detector is installed.
    """
    lowest, highest = _RATES
    if not lowest <= sample_rate <= highest:
      raise UserError(
        f"{sample_rate} samples a second: give {lowest} to {highest}"
      )
    self._listener, self._rate = listener, sample_rate
    self.counts = Counts()
    self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1)
    self._detector, self._pauses = SpeechDetector(), Pauses()
    system = listener.system
    self._smoother = Smoother(system.classes, system.threshold, listener.hop)
    # Samples from `_first` on; older ones nobody needs any more.
    self._ring_S, self._first = np.zeros(0, np.float32), 0
    self._now = 0  # Samples of 16 kHz since the beginning,
    self._heard = 0  # of which the detector has heard,
    self._classified = 0  # and where the last window ended.
    frames = round(listener.window_samples / FRAME)
    self._speech: collections.deque[bool] = collections.deque(maxlen=frames)
    self._powers: collections.deque[float] = collections.deque(
      maxlen=_LEVEL_FRAMES
    )

  @property
  def seconds(self) -> float:
    """How much of the signal has been heard."""
    return self._now / SAMPLE_RATE

  @property
  def level_db(self) -> float:
    """Of the last frame, in dB of full scale; -100 of silence."""
    frame_S = self._ring_S[-FRAME:].astype(np.float64)
    power = np.mean(frame_S**2) if len(frame_S) else 0.0
    return float(10 * np.log10(power + 1e-10))

  def feed(
    self, samples_S: np.ndarray, only_newest: bool = False
  ) -> Iterator[Window | Speech]:
    """Hears the next samples, float32 with full scale at 1.

    With `only_newest` one window at most is classified, the last; the others
    are counted as dropped: for who is late.

    Yields:
      Windows as they end, and segments of speech when the pause after them is
      certain; `Listener.describe` says more of these.
    """
    samples_S = self._resampled(self._checked(samples_S))
    first = 0
    if only_newest:
      hop = self._listener.hop_samples
      first = (self._now + len(samples_S)) // hop * hop
    yield from self._hear(samples_S, first)

  def lose(self, count: int) -> Iterator[Speech]:
    """Goes on after so many samples that nobody heard.

    Yields what ended before them. Windows that end in them are dropped.
    """
    self.counts.lost += count / self._rate
    for start in range(0, count, _BLOCK):
      silence_S = np.zeros(min(_BLOCK, count - start), np.float32)
      yield from self._hear(self._resampled(silence_S), np.inf)

  def finish(self) -> Iterator[Window | Speech]:
    """The end: what was not yet classified, and the last segment."""
    rest_S = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    yield from self._hear(rest_S, 0)
    shortest = self._listener.system.encoder.min_samples
    if self._now > self._classified and self._now >= shortest:
      yield self._window()
    if span := self._pauses.finish():
      yield self._cut_out(span)

  def _checked(self, samples_S: np.ndarray) -> np.ndarray:
    """Finite samples, no louder than full scale."""
    samples_S = np.asarray(samples_S, np.float32)
    is_finite = np.isfinite(samples_S)
    if not is_finite.all():
      self.counts.not_numbers += (~is_finite).sum() / self._rate
      samples_S = np.where(is_finite, samples_S, np.float32(0))
    self.counts.clipped += (np.abs(samples_S) >= _FULL).sum() / self._rate
    return samples_S.clip(-1, 1)

  def _resampled(self, samples_S: np.ndarray) -> np.ndarray:
    pieces = [
      self._resampler.resample_chunk(samples_S[start : start + _BLOCK])
      for start in range(0, len(samples_S), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, np.float32), *pieces])

  def _hear(
    self, samples_S: np.ndarray, first: float
  ) -> Iterator[Window | Speech]:
    """Hears samples of 16 kHz; windows that end before `first` are dropped."""
    hop = self._listener.hop_samples
    while len(samples_S):
      due = (self._now // hop + 1) * hop
      piece_S = samples_S[: due - self._now]
      samples_S = samples_S[len(piece_S) :]
      yield from self._take(piece_S)
      if self._now < due:
        continue
      if due < first:
        self.counts.dropped_windows += 1
        self._classified = self._now
      else:
        yield self._window()

  def _take(self, samples_S: np.ndarray) -> Iterator[Speech]:
    """Lets the detector hear what is whole frames, and finds segments."""
    self._ring_S = np.concatenate([self._ring_S, samples_S])
    self._now += len(samples_S)
    while self._now - self._heard >= FRAME:
      frame_S = self._between(self._heard, self._heard + FRAME)
      self._heard += FRAME
      probability = self._detector.probability(frame_S)
      self._speech.append(probability >= _SPEECH)
      if self._speech[-1]:
        self._powers.append(float(np.mean(frame_S.astype(np.float64) ** 2)))
      if span := self._pauses.add(probability):
        yield self._cut_out(span)
    kept = self._now - self._listener.window_samples
    start = self._pauses.start
    frames = self._heard // FRAME - pauses.PADDING if start is None else start
    kept = max(0, min(kept, frames * FRAME))
    self._ring_S = self._ring_S[kept - self._first :].copy()
    self._first = kept

  def _between(self, start: int, stop: int) -> np.ndarray:
    return self._ring_S[start - self._first : stop - self._first]

  def _window(self) -> Window:
    """Classifies what ends now."""
    start = max(0, self._now - self._listener.window_samples)
    self._classified = self._now
    times = start / SAMPLE_RATE, self._now / SAMPLE_RATE
    speech = sum(self._speech) / PER_SECOND
    if speech < LEAST_SPEECH:
      if not speech:
        self._smoother.reset()
      return Window(*times, speech, None, None, "")
    window_S = self._scaled(self._between(start, self._now))
    probabilities_C = self._listener.classify(window_S)
    smoothed_C, label = self._smoother.add(probabilities_C)
    return Window(*times, speech, probabilities_C, smoothed_C, label)

  def _cut_out(self, span: Span) -> Speech:
    start, stop = span.start * FRAME, span.stop * FRAME
    samples_S = self._scaled(self._between(start, stop))
    return Speech(start / SAMPLE_RATE, samples_S)

  def _scaled(self, samples_S: np.ndarray) -> np.ndarray:
    """At the level of training: speech of late as loud as its clips."""
    level_db = 10 * np.log10(np.mean(self._powers) + 1e-10)
    gain_db = self._listener.system.level_db - level_db
    gain = 10 ** (np.clip(gain_db, -_MOST_GAIN, _MOST_GAIN) / 20)
    return samples_S * np.float32(gain)
