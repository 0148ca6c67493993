"""Tables of text as people's programs write them: pandas, Excel, R, macOS.

What is unambiguous is read: commas, semicolons or tabs, UTF-8 or UTF-16, any
line ends, blanks and capitals in the names of columns, rows without values. For
all else there is an error of one line that names the cause.
"""

import collections
import csv
import dataclasses
import io
import itertools
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import IO, NamedTuple

from emojax import spelling
from emojax.errors import UserError
from emojax.runtime import files

_LOG = logging.getLogger(__name__)

_DELIMITERS = ",;\t|"
# What pandas, R and databases write for a value that is not there.
MISSING = frozenset(
  ("nan", "NaN", "NAN", "None", "NULL", "null", "<NA>", "NaT", "NA", "#N/A")
)
# Those of them that are words, which somebody may have said.
_WORDS = frozenset(("None", "NULL", "null", "NA"))
# What `pandas.DataFrame.to_csv` calls the index; it says nothing.
_INDEX = re.compile(r"(unnamed: \d+(_level_\d+)?)?")
# Excel's first line, which names the delimiter.
_NAMES_DELIMITER = re.compile(r'\ufeff?"?sep=([,;\t|:])"?\s*', re.IGNORECASE)
_MARKS = (  # UTF-32 before UTF-16, whose mark begins it.
  (b"\xff\xfe\0\0", "utf-32"),
  (b"\0\0\xfe\xff", "utf-32"),
  (b"\xff\xfe", "utf-16"),
  (b"\xfe\xff", "utf-16"),
)
_AS_CSV = "save it as CSV UTF-8"
_OTHER_FILES = (
  (b"PK\x03\x04", f"an Excel workbook, or another archive: {_AS_CSV}"),
  (b"\xd0\xcf\x11\xe0", f"an Excel workbook: {_AS_CSV}"),
  (b"PAR1", f"a Parquet file: {_AS_CSV}"),
  (b"\x1f\x8b", "compressed by gzip: unpack it"),
  (b"%PDF", f"a PDF: {_AS_CSV}"),
  (b"RIFF", "a recording, not a list of recordings"),
  (b"OggS", "a recording, not a list of recordings"),
  (b"fLaC", "a recording, not a list of recordings"),
  (b"{", f"JSON: {_AS_CSV}"),
  (b"[", f"JSON: {_AS_CSV}"),
  (b"<", f"a page or XML: {_AS_CSV}"),
)
_TEXTS = b"[", b"{", b"<"  # With which a text may begin, too.
_LONGEST_LINE = 1 << 20  # Characters; a file without line ends has no rows.
_ESCAPED = re.compile("[\udc80-\udcff]")  # Bytes that are not UTF-8.
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u2060"  # Marks at the edge of a value.
_WHOLE = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_LARGEST = 2**53  # Whole numbers up to here are exact as floats.
_SHOWN = 200  # Characters of a name or value that a message shows.
_NAMED = 12  # Names that it lists.


@dataclasses.dataclass(frozen=True)
class Columns:
  """The columns of a table, by the names that rows have them under."""

  required: tuple[str, ...]
  optional: tuple[str, ...] = ()
  names: tuple[str, ...] = ()  # Those of them that are names, such as speakers.
  words: tuple[str, ...] = ()  # What is said: 'None' is a word in them.
  known: tuple[str, ...] = ()  # Not read, and nobody needs to be told.
  # Those in which no row is empty, and what to say where one is.
  filled: Mapping[str, str] = dataclasses.field(default_factory=dict)
  expected: str = ""  # What the error about columns that are missing asks for.
  # What to say of the columns that are not read, after their names.
  unused: Callable[[list[str]], str] | None = None


class Row(NamedTuple):
  """A row: 'PATH, line 3', and its values without blanks around them.

  '' is a value that is missing, as of a column that is.
  """

  where: str
  values: dict[str, str]


def read(path: str | os.PathLike, columns: Columns) -> list[Row]:
  """Reads a table from a file.

  What it has besides is named in one warning, as are words for missing values,
  and such words where they are what is said.

  Raises:
    UserError: no table of text, bytes that are no UTF-8, a missing or a doubled
      column, a row of another length, an empty value where none may be; with
      its line.
  """
  try:
    with open(path, "rb") as file:
      start = file.peek(64)[:64]
      encoding = _marked(start)
      _refuse_other_files(path, start)
      with _text(file, encoding) as text:
        return parse(_lines(text, path), path, columns)
  except UnicodeError as error:
    raise UserError(f"{path}: damaged, no {encoding}; {_AS_CSV}") from error
  except OSError as error:
    raise UserError(f"{path}: can not be read ({error.strerror})") from error


def decode(path: str | os.PathLike) -> str:
  """The text of a file that is UTF-8, Latin-1, or what its mark says.

  Raises:
    UserError: it can not be read, or is no text.
  """
  try:
    with open(path, "rb") as file:
      content = file.read()
  except OSError as error:
    raise UserError(f"{path}: can not be read ({error.strerror})") from error
  _refuse_other_files(path, content[:64], _TEXTS)
  if encoding := _marked(content):
    return content.decode(encoding, "replace")
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError:
    return content.decode("latin-1")


def parse(
  lines: Iterable[str], path: str | os.PathLike, columns: Columns
) -> list[Row]:
  """Reads a table from its lines, as `read` does; `path` is for messages."""
  lines, skipped, delimiter = _delimiter(iter(lines), columns)
  reader = csv.reader(
    lines, delimiter=delimiter, skipinitialspace=True, strict=True
  )
  header, place_of, rows = None, {}, []
  filled: set[int] = set()
  for line, row in _records(reader, skipped, path):
    cells = [_strip(cell) for cell in row]
    if not any(cells) or cells == header:  # As where tables are joined.
      continue
    where = f"{path}, line {line}"
    if header is None:
      header, place_of = cells, _places(cells, where, columns)
      continue
    if len(cells) < len(header) or any(cells[len(header) :]):
      raise UserError(
        f"{where}: not as many fields as columns ({len(cells)} and "
        f"{len(header)}); put a text that holds a {_name(delimiter)} in double "
        "quotes"
      )
    filled.update(i for i, cell in enumerate(cells) if cell)
    rows.append(Row(where, {n: cells[i] for n, i in place_of.items()}))
  if header is None:
    _places([], f"{path}, line 1", columns)
  _warn_unused(path, header, filled.difference(place_of.values()), columns)
  return _mended(rows, path, columns)


def whole(value: str, where: str, name: str) -> int:
  """The whole number that a value is, which may be written '3.0' or '3e0'.

  Raises:
    UserError: it is none.
  """
  try:
    number = float(value) if _WHOLE.fullmatch(value) else 0.5
  except ValueError:
    number = 0.5
  if not abs(number) < _LARGEST or number != int(number):
    raise UserError(
      f"{where}: {name} {value[:_SHOWN]!r} is no whole number; correct "
      "or remove it"
    )
  return int(number)


def shown(value: str | os.PathLike) -> str:
  """A value or path in one line of a message: its end, if it is long."""
  value = os.fspath(value)
  short = value if len(value) <= _SHOWN else "…" + value[-_SHOWN:]
  return short if short.isprintable() and short else repr(short)


def _text(file: IO[bytes], encoding: str | None) -> IO[str]:
  """Text whose line ends stay; bytes that are no UTF-8 are marked in it."""
  if encoding:
    return io.TextIOWrapper(file, encoding, newline="")
  return io.TextIOWrapper(
    file, "utf-8-sig", errors="surrogateescape", newline=""
  )


def _marked(start: bytes) -> str | None:
  """The encoding that a mark at the beginning names."""
  return next((e for mark, e in _MARKS if start.startswith(mark)), None)


def _refuse_other_files(
  path: str | os.PathLike, start: bytes, allowed: Collection[bytes] = ()
) -> None:
  """Refuses what is not text, by its first bytes."""
  if why := files.stand_in(path):
    raise UserError(f"{path}: {why}")
  for mark, why in _OTHER_FILES:
    if start.lstrip().startswith(mark) and mark not in allowed:
      raise UserError(f"{path}: {why}")


def _lines(text: IO[str], path: str | os.PathLike) -> Iterator[str]:
  """Yields the lines, with their ends, of which none may fill the memory."""
  for number in itertools.count(1):
    line = text.readline(_LONGEST_LINE)
    where = f"{path}, line {number}"
    if not line:
      return
    if len(line) == _LONGEST_LINE:
      raise UserError(f"{where}: longer than a million characters; no table")
    if "\0" in line:
      raise UserError(
        f"{where}: a byte of 0; the file is damaged or in another encoding: "
        f"{_AS_CSV}"
      )
    if not line.isascii() and (wrong := _ESCAPED.search(line)):
      byte = wrong[0].encode("utf-8", "surrogateescape")
      raise UserError(
        f"{where}: not UTF-8: byte {byte.hex()} at character "
        f"{wrong.start() + 1}, which is {byte.decode('cp1252', 'replace')!r} "
        f"in Windows-1252; {_AS_CSV}"
      )
    yield line


def _delimiter(
  lines: Iterator[str], columns: Columns
) -> tuple[Iterator[str], int, str]:
  """The delimiter that the header is written with, or Excel's first line says.

  Returns:
    The lines from the header on, how many are before it, and the delimiter.
  """
  skipped, named = 0, None
  for line in lines:
    if not skipped and (named := _NAMES_DELIMITER.fullmatch(line)):
      skipped += 1
    elif _strip(line).strip(_DELIMITERS + '"'):
      break
    else:
      skipped += 1
  else:
    return iter(()), 0, ","
  if named:
    delimiter = named[1]
  else:
    names = (*columns.required, *columns.optional, *columns.known)
    wanted = set(map(_key, names))
    # The first of several that are as good, which is a comma.
    delimiter = max(
      _DELIMITERS,
      key=lambda d: len(wanted & {_key(cell, '"') for cell in line.split(d)}),
    )
  return itertools.chain((line,), lines), skipped, delimiter


def _records(
  reader, skipped: int, path: str | os.PathLike
) -> Iterator[tuple[int, list[str]]]:
  """Yields the line on which each row begins, and the row."""
  while True:
    line = skipped + reader.line_num + 1
    try:
      yield line, next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      raise UserError(
        f"{path}, line {line}: not CSV ({error}): close each double quote, and "
        "double those inside of a text in quotes"
      ) from error


def _places(header: list[str], where: str, columns: Columns) -> dict[str, int]:
  """The place in a row of each column that is read and is there."""
  keys = [_key(name) for name in header]
  missing = [name for name in columns.required if _key(name) not in keys]
  if missing:
    found = ", ".join(shown(name) for name in header[:_NAMED]) or "nothing"
    more = ", …" if len(header) > _NAMED else ""
    raise UserError(
      f"{where}: no column {', '.join(missing)}; {columns.expected}; found "
      f"{found}{more}"
    )
  wanted = (*columns.required, *columns.optional)
  for name in wanted:
    if keys.count(_key(name)) > 1:
      raise UserError(
        f"{where}: {keys.count(_key(name))} columns are called {name}; remove "
        "or rename all but one"
      )
  return {n: keys.index(_key(n)) for n in wanted if _key(n) in keys}


def _warn_unused(path, header, places: Iterable[int], columns: Columns) -> None:
  """Names the columns that hold something and are not read."""
  unused, known = [], set(map(_key, columns.known))
  for place in sorted(places):
    name = _key(header[place])
    is_index = _INDEX.fullmatch(name) and place == 0
    if not is_index and name not in known:
      unused.append(shown(header[place]) if name else f"number {place + 1}")
  if not unused:
    return
  named = ", ".join(unused[:_NAMED]) + (", …" if len(unused) > _NAMED else "")
  why = columns.unused and columns.unused(unused)
  _LOG.warning("%s: columns not used: %s%s", path, named, why or "")


def empty(name: str, value: str) -> str:
  """Why nothing is known by a value that is '', or is taken for that."""
  if not value:
    return f"no {name}"
  return (
    f"no {name} ({value!r} reads as a missing value: if it is a name, spell "
    "it in another way)"
  )


def _warn_words(path, found, total: int, what: str) -> None:
  words = ", ".join(
    f"{value!r} in {name} ({count} of {total} rows)"
    for (name, value), count in found.items()
  )
  if words:
    _LOG.warning("%s: %s: %s", path, what, words)


def _mended(
  rows: list[Row], path: str | os.PathLike, columns: Columns
) -> list[Row]:
  """Takes words for missing values as such, and '3.0' of pandas as '3'."""
  missing, said = collections.Counter(), collections.Counter()
  for where, values in rows:
    for name, value in values.items():
      if name in columns.words and value in _WORDS:
        said[name, value] += 1
        continue
      if name in columns.filled and (not value or value in MISSING):
        why = columns.filled[name]
        raise UserError(f"{where}: {empty(name, value)}; {why}")
      if value in MISSING:
        missing[name, value] += 1
        values[name] = ""
  _warn_words(path, missing, len(rows), "taken for values that are missing")
  _warn_words(path, said, len(rows), "taken for what is said")
  for name in columns.names:
    if rows and name in rows[0].values:
      plain = spelling.without_points(row.values[name] for row in rows)
      for row, value in zip(rows, plain, strict=True):
        row.values[name] = value
  return rows


def _key(name: str, more: str = "") -> str:
  return spelling.key(_strip(_strip(name).strip(more)))


def _strip(cell: str) -> str:
  cell = cell.strip()
  return cell if cell.isascii() else cell.strip(_INVISIBLE).strip()


def _name(delimiter: str) -> str:
  return {",": "comma", ";": "semicolon", "\t": "tab"}.get(delimiter, delimiter)
