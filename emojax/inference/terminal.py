"""A session as it goes on, in a terminal; lines where it is none.

C emotions.
"""

import shutil
import sys

from emojax.errors import one_line
from emojax.inference.listener import Segment
from emojax.inference.session import NOBODY
from emojax.inference.stream import Stream, Window

_BAR = 24  # Characters of a full one.
_LOWEST = -60.0  # dB of full scale, where the level's bar begins.
_UP, _CLEAR = "\x1b[{}A\r", "\x1b[J"


class View:
  """What was shown last is replaced in place; segments stay above it."""

  def __init__(self, classes: tuple[str, ...]):
    """Nothing is shown yet."""
    self._classes = classes
    self._in_place = sys.stdout.isatty()
    self._height = 0  # Lines that the next state replaces.

  def show(self, found: Window | Segment, stream: Stream) -> None:
    """Shows what was found now, in `stream`."""
    if isinstance(found, Segment):
      self._print([segment_line(found)], [])
    elif self._in_place:
      self._print([], self._state(found, stream))
    else:
      self._print([window_line(found, self._classes)], [])

  def _print(self, lines: list[str], state: list[str]) -> None:
    back = _UP.format(self._height) + _CLEAR if self._height else ""
    width = shutil.get_terminal_size().columns
    if self._in_place:  # A line that wraps would be counted wrongly.
      state = [line[: width - 1] for line in state]
    print(back + "\n".join([*lines, *state]), flush=True)
    self._height = len(state)

  def _state(self, window: Window, stream: Stream) -> list[str]:
    level = (stream.level_db - _LOWEST) / -_LOWEST
    counts = stream.counts
    lines = [
      f"{clock(window.end)}  level {_bar(level)}  {window.label or NOBODY}"
    ]
    names = max(map(len, self._classes))
    if window.smoothed_C is not None:
      for name, value in zip(self._classes, window.smoothed_C, strict=True):
        lines.append(f"  {name:<{names}} {_bar(value)} {value:.2f}")
    dropped = counts.dropped_windows + counts.dropped_segments
    if dropped or counts.lost:
      lines.append(
        f"  too slow: {counts.dropped_windows} windows and "
        f"{counts.dropped_segments} segments dropped, {counts.lost:.1f} s lost"
      )
    return lines


def window_line(window: Window, classes: tuple[str, ...]) -> str:
  """`12.0  happy      0.81  happy 0.81  sad 0.10  angry 0.05`."""
  line = f"{window.end:8.1f}  {window.label or NOBODY:<10}"
  if window.smoothed_C is None:
    return line.rstrip()
  best = window.smoothed_C.argsort()[::-1][:3]
  shown = (f"{classes[c]} {window.smoothed_C[c]:.2f}" for c in best)
  return f"{line}  {'  '.join(shown)}"


def segment_line(segment: Segment) -> str:
  """`[0:03.2 - 0:05.1] sad: Kids are talking by the door.`"""
  times = f"{clock(segment.start)} - {clock(segment.end)}"
  text = one_line(segment.text)
  return f"[{times}] {segment.emotion}{': ' if text else ''}{text}"


def clock(seconds: float) -> str:
  """`1:02:03.4`; without hours where there are none."""
  minutes, seconds = divmod(round(10 * seconds) / 10, 60)
  hours, minutes = divmod(int(minutes), 60)
  if hours:
    return f"{hours}:{minutes:02d}:{seconds:04.1f}"
  return f"{minutes}:{seconds:04.1f}"


def _bar(share: float) -> str:
  filled = round(_BAR * min(max(share, 0.0), 1.0))
  return "#" * filled + "." * (_BAR - filled)
