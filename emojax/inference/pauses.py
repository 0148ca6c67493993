"""Segments of speech between pauses.

Frames are those of the speech detector, numbered from the stream's beginning.
"""

import collections
from typing import NamedTuple

from emojax.audio.settings import SAMPLE_RATE
from emojax.audio.speech_detection import FRAME

PER_SECOND = SAMPLE_RATE / FRAME
LONGEST = round(10 * PER_SECOND)  # Frames; a longer segment is cut.
PADDING = round(0.2 * PER_SECOND)  # Before and after what is detected.

# Silero's own hysteresis and times.
_SPEECH, _PAUSE = 0.5, 0.35
_SHORTEST_PAUSE = round(0.5 * PER_SECOND)
_SHORTEST_SPEECH = round(0.25 * PER_SECOND)
_CUT_WITHIN = round(3 * PER_SECOND)  # Of the end of what is too long.


class Span(NamedTuple):
  """Frames `start` to `stop`, without the latter."""

  start: int
  stop: int


class Pauses:
  """Finds segments as the probabilities of frames come in."""

  def __init__(self):
    """Nobody speaks."""
    self._frame = 0
    self._start: int | None = None
    self._spoken = 0  # Frames with speech in the segment.
    self._last = 0  # After the last one of them,
    self._earliest = 0  # and after the segment before.
    self._recent: collections.deque[float] = collections.deque(
      maxlen=_CUT_WITHIN
    )

  def add(self, probability: float) -> Span | None:
    """Takes the next frame; gives a segment where one has just ended."""
    self._frame += 1
    self._recent.append(probability)
    if self._start is None:
      if probability >= _SPEECH:
        self._start = max(self._frame - 1 - PADDING, self._earliest)
        self._last, self._spoken = self._frame, 1
      return None
    if probability >= _PAUSE:
      self._last, self._spoken = self._frame, self._spoken + 1
    if self._frame - self._last >= _SHORTEST_PAUSE:
      return self._close(min(self._last + PADDING, self._frame))
    if self._frame - self._start >= LONGEST:
      return self._cut()
    return None

  def finish(self) -> Span | None:
    """The segment that the end of the stream cuts off, if there is one."""
    if self._start is None:
      return None
    return self._close(min(self._last + PADDING, self._frame))

  @property
  def start(self) -> int | None:
    """Where the segment begins that goes on; None in a pause."""
    return self._start

  def _close(self, stop: int) -> Span | None:
    start, self._start = self._start, None
    self._earliest = stop
    is_speech = self._spoken >= _SHORTEST_SPEECH
    return Span(start, stop) if is_speech else None

  def _cut(self) -> Span:
    """Ends it where speech was least likely of late; the rest goes on.

    In a pause that has begun there is no rest.
    """
    recent = list(self._recent)
    least = min(range(len(recent)), key=recent.__getitem__)
    stop = self._frame - len(recent) + least + 1
    rest = recent[least + 1 :]
    if stop >= self._last:
      stop = min(stop, self._last + PADDING)
    start, self._earliest = self._start, stop
    self._start = stop if stop < self._last else None
    self._spoken = sum(probability >= _PAUSE for probability in rest)
    return Span(start, stop)
