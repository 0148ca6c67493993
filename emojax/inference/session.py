"""What was heard of one signal: its timeline, as tables, JSON and a figure.

C emotions.
"""

import collections
import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from emojax.encoders.words import Word
from emojax.inference.listener import Segment
from emojax.inference.stream import Counts, Window
from emojax.runtime import environment, files

NOBODY = "no speech"


class Session:
  """Collects windows and segments, all of them until it ends."""

  def __init__(self, classes: tuple[str, ...], hop: float):
    """Nothing was heard."""
    self.classes, self.hop = classes, hop
    self.windows: list[Window] = []
    self.segments: list[Segment] = []
    self.counts = Counts()  # Of its stream.

  def add(self, found: Window | Segment) -> None:
    """Takes what `following` yields, in its order."""
    kept = self.windows if isinstance(found, Window) else self.segments
    kept.append(found)

  def rows(self) -> Iterator[dict[str, str]]:
    """One for each window: what is shown at its end, and said since the last.

    `start` and `end` in seconds, `emotion` (or `uncertain`, or nothing where
    nobody speaks), its `confidence`, the smoothed probability of each class,
    seconds of `speech` in the window, and `text`.
    """
    words = collections.deque(w for s in self.segments for w in s.words)
    for window in self.windows:
      said = []
      while words and _middle(words[0]) <= window.end:
        said.append(words.popleft().text)
      yield {
        "start": f"{window.start:.3f}",
        "end": f"{window.end:.3f}",
        "emotion": window.label,
        **_numbers(self.classes, window.smoothed_C),
        "speech": f"{window.speech:.2f}",
        "text": " ".join(said),
      }

  def segment_rows(self) -> Iterator[dict[str, str]]:
    """One for each segment of speech: times, emotion and what was said."""
    for segment in self.segments:
      yield {
        "start": f"{segment.start:.3f}",
        "end": f"{segment.end:.3f}",
        "emotion": segment.emotion,
        **_numbers(self.classes, segment.probabilities_C),
        "text": segment.text,
      }

  def summary(self) -> dict[str, Any]:
    """Of the session: seconds, share of each label, and what was odd."""
    labels = collections.Counter(w.label or NOBODY for w in self.windows)
    total = max(1, len(self.windows))
    return {
      "seconds": self.windows[-1].end if self.windows else 0.0,
      "hop": self.hop,
      "windows": len(self.windows),
      "shares": {name: n / total for name, n in labels.most_common()},
      "counts": dataclasses.asdict(self.counts),
    }

  def line(self) -> str:
    """The summary for a person."""
    found = self.summary()
    shares = ", ".join(f"{k} {v:.0%}" for k, v in found["shares"].items())
    line = f"{found['seconds']:.1f} s, {found['windows']} windows: {shares}"
    odd = [f"{k} {v:g}" for k, v in found["counts"].items() if v]
    return line if not odd else f"{line}; {', '.join(odd)}"

  def to_json(self) -> dict[str, Any]:
    """All of it, with versions and device."""
    return {
      **self.summary(),
      "classes": list(self.classes),
      "timeline": [_plain(window) for window in self.windows],
      "segments": [
        {**_plain(s), "words": [w._asdict() for w in s.words]}
        for s in self.segments
      ],
      **environment.describe(),
    }

  def tables(self) -> dict[str, str]:
    """Files by their names: both tables, and all of it as JSON."""
    return {
      "timeline.csv": as_csv(self.rows()),
      "segments.csv": as_csv(self.segment_rows()),
      "session.json": json.dumps(self.to_json(), indent=1) + "\n",
    }

  def write(self, folder: str | os.PathLike) -> None:
    """Leaves timeline.csv, segments.csv, session.json and timeline.png.

    Raises UserError where the disk is full, or takes no file.
    """
    folder = pathlib.Path(folder)
    for name, text in self.tables().items():
      with files.whole(folder / name) as path:
        path.write_text(text, encoding="utf-8", newline="")
    if self.windows:
      with files.whole(folder / "timeline.png") as path:
        self._draw(path)

  def _draw(self, path: pathlib.Path) -> None:
    from emojax.reports import timeline  # Matplotlib takes a second.

    silence_C = np.full(len(self.classes), np.nan)
    timeline.draw(
      path,
      self.classes,
      [window.end for window in self.windows],
      np.stack(
        [
          silence_C if window.smoothed_C is None else window.smoothed_C
          for window in self.windows
        ]
      ),
      [(s.start, s.end, s.emotion, s.text) for s in self.segments],
      "Emotion over time",
    )


def as_csv(rows: Iterable[dict[str, str]]) -> str:
  """A header and a line for each row; nothing without any."""
  text, writer = io.StringIO(newline=""), None
  for row in rows:
    if writer is None:
      writer = csv.DictWriter(text, row, lineterminator="\n")
      writer.writeheader()
    writer.writerow(row)
  return text.getvalue()


def _middle(word: Word) -> float:
  return (word.start + word.end) / 2


def _numbers(classes: Sequence[str], probabilities_C) -> dict[str, str]:
  """The confidence and each class; nothing where nobody speaks."""
  if probabilities_C is None:
    return dict.fromkeys(("confidence", *classes), "")
  texts = map("{:.6f}".format, probabilities_C)
  confidence = f"{max(probabilities_C):.6f}"
  return {"confidence": confidence, **dict(zip(classes, texts, strict=True))}


def _plain(found: Window | Segment) -> dict[str, Any]:
  return {
    name: value.tolist() if hasattr(value, "tolist") else value
    for name, value in found._asdict().items()
  }
