"""FER2013: 35,887 faces of the web, 48x48 grey, seven emotions.

Goodfellow et al., "Challenges in Representation Learning: A report on three
machine learning contests", ICONIP 2013. Some images are in more than one part.
"""

import pathlib
from collections.abc import Iterator, Sequence

from emojax.corpora.labels import canonical
from emojax.corpora.records import Face
from emojax.errors import UserError

_TABLE = "fer2013.csv"
LAYOUT = f"{_TABLE} with the columns emotion, pixels and Usage"
SOURCE = (
  "FER2013 comes with an account: https://www.kaggle.com/c/challenges-in-"
  "representation-learning-facial-expression-recognition-challenge"
)

# Li & Xu (2020, section 4.1) test on the private part, as the contest did.
USAGES = {
  "Training": "train",
  "PublicTest": "validation",
  "PrivateTest": "test",
}
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_COLUMNS = ("emotion", "pixels", "Usage")
_SIZE = (48, 48)


def read(path: str) -> Iterator[Face]:
  """Yields all faces in the order of the table; the pixels stay in it.

  A face has the name that FERPlus gives it: `fer0000000` is the first. `path`
  is the table, or a folder that holds it.

  Raises:
    UserError: no such table, a column missing, or a line that is not one of
      FER2013.
  """
  table = _find(pathlib.Path(path))
  with open(table, "rb") as lines:
    header = next(lines, b"")
    names = [_text(field) for field in header.split(b",")]
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
      raise UserError(
        f"{table}, line 1: no column {', '.join(missing)}; expected {LAYOUT}; "
        f"{SOURCE}"
      )
    columns = [names.index(name) for name in _COLUMNS]
    start = len(header)
    for row, line in enumerate(lines):
      if line.strip():
        yield _read_row(line, columns, start, row, table)
      start += len(line)


def _find(path: pathlib.Path) -> pathlib.Path:
  if path.is_file():
    return path
  found = sorted(path.rglob(_TABLE), key=lambda table: len(table.parts))
  if not found:
    raise UserError(f"{path}: no {_TABLE}; expected {LAYOUT}; {SOURCE}")
  return found[0]


def _text(field: bytes) -> str:
  return field.decode("utf-8", "replace").strip('\ufeff" \r\n')


def _read_row(line: bytes, columns: Sequence[int], start, row, table) -> Face:
  where = f"{table}, line {row + 2}"
  fields = line.split(b",")
  if len(fields) <= max(columns):
    raise UserError(
      f"{where}: {len(fields)} fields where there are at least "
      f"{max(columns) + 1} columns; copy the file from the release again"
    )
  emotion, pixels, usage = columns
  code, part = _text(fields[emotion]), _text(fields[usage])
  if not (code.isdecimal() and int(code) < len(EMOTIONS)):
    raise UserError(
      f"{where}: unknown label {code!r}; FER2013 has 0 to 6 for "
      f"{', '.join(EMOTIONS)}"
    )
  if part not in USAGES:
    raise UserError(
      f"{where}: unknown Usage {part!r}; FER2013 has {', '.join(USAGES)}"
    )
  return Face(
    path=str(table),
    label=canonical(EMOTIONS[int(code)], where),
    part=USAGES[part],
    name=f"fer{row:07d}",
    size=_SIZE,
    offset=start + sum(len(field) + 1 for field in fields[:pixels]),
  )
