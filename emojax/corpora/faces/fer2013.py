"""FER2013: 35,887 faces of the web, 48x48 grey, seven emotions.

Goodfellow et al., "Challenges in Representation Learning: A report on three
machine learning contests", ICONIP 2013. Some images are in more than one part.
"""

import dataclasses
import io
import logging
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emojax import spelling
from emojax.corpora import layout
from emojax.corpora.faces import image_folder
from emojax.corpora.labels import canonical
from emojax.corpora.records import Face
from emojax.errors import UserError, one_line

_LOG = logging.getLogger(__name__)

# The same table, of the release and of Kaggle's page.
_TABLES = ("fer2013.csv", "icml_face_data.csv")
LAYOUT = (
  f"{' or '.join(_TABLES)} with the columns emotion, pixels and Usage, or "
  "images such as train/happy/1.jpg in train and test"
)
SOURCE = (
  "FER2013 comes with an account: https://www.kaggle.com/c/challenges-in-"
  "representation-learning-facial-expression-recognition-challenge"
)
LICENCE = "of the competition on Kaggle; images found by web search"
# What is there beside, or without, the whole table.
_OF_THE_CONTEST = ("train.csv", "test.csv")
_PARTIAL = (
  "train.csv and test.csv of the contest have no Usage, and test.csv no "
  "emotion: take icml_face_data.csv, of the same page, which has all"
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
_LONGEST_LINE = 1 << 16  # Bytes; 48x48 pixels take up to 9 kB.
_CODE = re.compile(r"([0-6])(\.0*)?")
# Images of Kaggle's folders are called after the Usage, most of them.
_NAME = re.compile(r"(training|publictest|privatetest)_", re.IGNORECASE)
_BY_KEY = {spelling.key(usage): part for usage, part in USAGES.items()}


class _Form(NamedTuple):
  """How a table is written."""

  table: pathlib.Path
  delimiter: bytes
  num_columns: int
  places: Sequence[int]  # Of `_COLUMNS`.


def read(path: str) -> Iterator[Face]:
  """Yields all faces in the order of the table; the pixels stay in it.

  A face has the name that FERPlus gives it: `fer0000000` is the first. `path`
  is the table, or a folder that holds it; or else one of images in folders, as
  in `image_folder`. Their parts are those that the names of the images say
  (`PublicTest_123.jpg`), or else those of the folders.

  Raises:
    UserError: no such table, a column missing, or a line that is not one of
      FER2013; a folder that contradicts the name of an image in it.
  """
  table = layout.table(path, _TABLES)
  if table is not None:
    yield from _read_table(table)
  elif layout.find_parts(path):
    yield from _read_folders(path)
  elif layout.table(path, _OF_THE_CONTEST):
    raise UserError(f"{path}: no {' or '.join(_TABLES)}; {_PARTIAL}; {SOURCE}")
  else:
    raise layout.not_found(path, " or ".join(_TABLES), f"{LAYOUT}; {SOURCE}")


def _read_folders(path: str) -> list[Face]:
  root = layout.find_parts(path)
  faces = [
    dataclasses.replace(face, size=_SIZE) for face in image_folder.images(root)
  ]
  usages = [_NAME.match(pathlib.PurePath(face.path).name) for face in faces]
  if not all(usages):
    return layout.with_validation(root, faces, image_folder.LAYOUT)
  named = []
  for face, usage in zip(faces, usages, strict=True):
    part = _BY_KEY[spelling.key(usage[1])]
    # Kaggle's folder `test` holds both of the others.
    if (face.part == "train") != (part == "train"):
      raise UserError(
        f"{face.path}: in a folder for {face.part}, but called {usage[1]}; "
        "move or remove it (config.data.corpus=image_folder takes any parts)"
      )
    named.append(dataclasses.replace(face, part=part))
  return layout.with_validation(root, named, image_folder.LAYOUT)


def _read_table(table: pathlib.Path) -> Iterator[Face]:
  with _opened(table) as file:
    header = _line(file, table, 1)
    form = _form(table, header)
    start, row, number = len(header), 0, 1
    while line := _line(file, table, number + 1):
      number += 1
      if line.strip():
        yield _read_row(line, form, start, row, f"{table}, line {number}")
        row += 1
      start += len(line)


def _opened(table: pathlib.Path) -> io.BufferedReader:
  try:
    return open(table, "rb")
  except OSError as error:
    raise UserError(f"{table}: can not be read ({error.strerror})") from error


def _line(file: io.BufferedReader, table: pathlib.Path, number: int) -> bytes:
  line = file.readline(_LONGEST_LINE)
  if len(line) == _LONGEST_LINE:
    raise UserError(
      f"{table}, line {number}: longer than {_LONGEST_LINE} bytes; expected "
      f"{LAYOUT}; {SOURCE}"
    )
  return line


def _form(table: pathlib.Path, header: bytes) -> _Form:
  """Finds the columns, whatever separates them; names those not used."""
  wanted = [spelling.key(name) for name in _COLUMNS]
  splits = [
    (d, [_text(f) for f in header.split(d)]) for d in (b",", b";", b"\t")
  ]
  delimiter, names = max(
    splits,
    key=lambda split: sum(spelling.key(name) in wanted for name in split[1]),
  )
  keys = [spelling.key(name) for name in names]
  missing = [name for name in _COLUMNS if spelling.key(name) not in keys]
  if missing:
    why = f"{_PARTIAL}; " if table.name.lower() in _OF_THE_CONTEST else ""
    if b"\0" in header:
      why = "it is not UTF-8: save it as such; "
    raise UserError(
      f"{table}, line 1: no column {', '.join(missing)}; {why}"
      f"expected {LAYOUT}; {SOURCE}"
    )
  doubled = [name for name in _COLUMNS if keys.count(spelling.key(name)) > 1]
  if doubled:
    raise UserError(
      f"{table}, line 1: several columns {', '.join(doubled)}; rename all "
      "but one"
    )
  unused = [n for n in names if n and spelling.key(n) not in wanted]
  if unused:
    _LOG.warning("%s: columns not used: %s", table, one_line(", ".join(unused)))
  places = [keys.index(name) for name in wanted]
  return _Form(table, delimiter, len(names), places)


def _text(field: bytes) -> str:
  return field.decode("utf-8", "replace").strip('\ufeff" \r\n\t')


def _read_row(line: bytes, form: _Form, start: int, row: int, where) -> Face:
  fields = line.split(form.delimiter)
  if (
    len(fields) < form.num_columns
    or b"".join(fields[form.num_columns :]).strip()
  ):
    raise UserError(
      f"{where}: {len(fields)} fields where there are {form.num_columns} "
      "columns; copy the file from the release again"
    )
  emotion, pixels, usage = form.places
  code, part = _text(fields[emotion]), _text(fields[usage])
  match = _CODE.fullmatch(code)
  if not match:
    raise UserError(
      f"{where}: unknown label {code!r}; FER2013 has 0 to 6 for "
      f"{', '.join(EMOTIONS)}"
    )
  if spelling.key(part) not in _BY_KEY:
    raise UserError(
      f"{where}: unknown Usage {part!r}; FER2013 has {', '.join(USAGES)}"
    )
  return Face(
    path=str(form.table),
    label=canonical(EMOTIONS[int(match[1])], where),
    part=_BY_KEY[spelling.key(part)],
    name=f"fer{row:07d}",
    size=_SIZE,
    offset=start + sum(len(field) + 1 for field in fields[:pixels]),
  )
