"""What was predicted, and how a person or a program reads it.

U examples, C emotions.
"""

import csv
import dataclasses
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from emojax import markdown
from emojax.errors import Unreadable, UserError
from emojax.runtime import files


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What a system says of U examples, and why some could not be used.

  Attributes:
    names: columns that say which example it is, [U] texts each.
    probabilities_UxC: calibrated.
    details: columns of what else the system says, [U] numbers or texts each.
    skipped: examples that could not be used; in none of the others.
  """

  classes: tuple[str, ...]
  names: Mapping[str, Sequence[str]]
  probabilities_UxC: np.ndarray
  details: Mapping[str, Sequence[float | str]]
  skipped: list[Unreadable]

  def __len__(self) -> int:
    return len(self.probabilities_UxC)

  @property
  def emotions(self) -> list[str]:
    """The most probable class of each example."""
    return [self.classes[best] for best in self.probabilities_UxC.argmax(1)]

  def __repr__(self) -> str:
    return f"<Predictions of {len(self)}, {len(self.skipped)} skipped>"

  def rows(self) -> Iterator[dict[str, float | str]]:
    """Names, emotion, confidence, probability of each class, details."""
    for row, emotion in enumerate(self.emotions):
      probabilities = self.probabilities_UxC[row].tolist()
      yield {
        **{name: values[row] for name, values in self.names.items()},
        "emotion": emotion,
        "confidence": max(probabilities),
        **dict(zip(self.classes, probabilities, strict=True)),
        **{name: values[row] for name, values in self.details.items()},
      }


def require_writable(
  path: str | os.PathLike, inputs: Sequence[str | os.PathLike] = ()
) -> None:
  """Raises UserError now, not after the work, where no file can be written.

  Nor one of the `inputs`: a file that is named, or lies below a folder that is,
  where a table is none of what is read.
  """
  path = pathlib.Path(path).absolute()
  if any(_is_read(path, os.path.expanduser(name)) for name in inputs):
    raise UserError(
      f"{path} is what is read, and would be overwritten: name another file"
    )
  if path.is_dir():
    raise UserError(f"{path} is a folder: name a file in it")
  nearest = next(parent for parent in path.parents if parent.exists())
  with files.explained(path), tempfile.TemporaryFile(dir=nearest):
    pass


def _is_read(path: pathlib.Path, named: str) -> bool:
  """Whether a file that is there is the one that is named, or in it."""
  if not os.path.isfile(path) or not os.path.exists(named):
    return False
  if os.path.samefile(path, named):
    return True
  is_table = path.suffix.lower() in (".csv", ".npz")
  is_below = path.resolve().is_relative_to(os.path.realpath(named))
  return is_below and not is_table


def write_csv(path: str | os.PathLike, predictions: Predictions) -> None:
  """Writes a header and a line for each example.

  Raises UserError where the disk is full, or the folder takes no file.
  """
  digits = dict.fromkeys(("confidence", *predictions.classes), 6)
  rows = [
    {name: _text(value, digits.get(name, 3)) for name, value in row.items()}
    for row in predictions.rows()
  ]
  with files.whole_table(path) as file:
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def table(predictions: Predictions) -> str:
  """The same in aligned columns, for a terminal."""
  rows = list(predictions.rows())
  lines = [list(rows[0])]
  lines += [[_shown(value) for value in row.values()] for row in rows]
  aligned = markdown.plain_table(lines, num_names=len(predictions.names) + 1)
  encoding = sys.stdout.encoding or "utf-8"
  return aligned.encode(encoding, "backslashreplace").decode(encoding)


def _text(value: float | str, digits: int) -> str:
  return value if isinstance(value, str) else f"{value:.{digits}f}"


def _shown(value: float | str) -> str:
  text = _text(value, 2)
  # A name may hold a line break, or bytes that are no text.
  return text if text.isprintable() else repr(text)
