"""What was predicted, and how a person or a program reads it.

U recordings, C emotions.
"""

import csv
import dataclasses
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from emojax import markdown
from emojax.audio.io import UnreadableAudio
from emojax.errors import UserError
from emojax.runtime import files


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What a run says of recordings, and why some could not be used.

  Paths, seconds and calibrated probabilities are of those that could.
  """

  classes: tuple[str, ...]
  paths: list[str]
  seconds_U: np.ndarray
  probabilities_UxC: np.ndarray
  skipped: list[UnreadableAudio]

  def rows(self) -> Iterator[dict[str, str]]:
    """Path, emotion, confidence, probability of each class, seconds."""
    for path, seconds, probability_C in zip(
      self.paths, self.seconds_U, self.probabilities_UxC, strict=True
    ):
      best = probability_C.argmax()
      probabilities = map("{:.6f}".format, probability_C)
      yield {
        "path": path,
        "emotion": self.classes[best],
        "confidence": f"{probability_C[best]:.6f}",
        **dict(zip(self.classes, probabilities, strict=True)),
        "seconds": f"{seconds:.3f}",
      }


def require_writable(path: str | os.PathLike) -> None:
  """Raises UserError now, not after the work, where no file can be written."""
  path = pathlib.Path(path).absolute()
  if path.is_dir():
    raise UserError(f"{path} is a folder: name a file in it")
  nearest = next(parent for parent in path.parents if parent.exists())
  with files.explained(path), tempfile.TemporaryFile(dir=nearest):
    pass


def write_csv(path: str | os.PathLike, predictions: Predictions) -> None:
  """Writes a header and a line for each recording.

  Raises UserError where the disk is full, or the folder takes no file.
  """
  rows = list(predictions.rows())
  # Names of files may be any bytes: they come out as they went in.
  text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
  with files.whole(path) as temporary, open(temporary, "w", **text) as file:
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def table(predictions: Predictions) -> str:
  """The same in aligned columns, for a terminal."""
  rows = list(predictions.rows())
  lines = [list(rows[0])]
  for path, emotion, *numbers in (row.values() for row in rows):
    # A name may hold a line break, or bytes that are no text.
    names = [n if n.isprintable() else repr(n) for n in (path, emotion)]
    lines.append([*names, *(f"{float(number):.2f}" for number in numbers)])
  aligned = markdown.plain_table(lines, num_names=2)
  encoding = sys.stdout.encoding or "utf-8"
  return aligned.encode(encoding, "backslashreplace").decode(encoding)
