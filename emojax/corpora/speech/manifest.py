"""The user's own recordings, listed in a CSV file."""

import csv
import functools
import pathlib
from collections import Counter
from collections.abc import Iterator

from emojax.corpora.labels import canonical
from emojax.corpora.records import Utterance, normalise_session
from emojax.errors import UserError

LAYOUT = (
  "a CSV file with the columns path,label,speaker and, if known, "
  "dialogue,turn,session,text"
)
SOURCE = "paths in it are relative to the file's own folder"

_REQUIRED = ("label", "speaker")


def read(path: str, needs_audio: bool = True) -> Iterator[Utterance]:
  """Yields the rows of a manifest, in its order.

  Without a dialogue, a recording is a dialogue of its own. Without a turn, the
  turns of a dialogue are in the order of the rows. An empty label is allowed:
  the recording is used without one. For `read_text`, paths may be empty, or of
  no file.

  Raises:
    UserError: no CSV file in UTF-8, a missing column, a broken row, an unknown
      label, an empty speaker, a missing recording; with its line number.
  """
  manifest = pathlib.Path(path)
  if manifest.is_dir():
    raise UserError(f"{manifest}: a folder; expected {LAYOUT}")
  rows_of: Counter[tuple[str, str]] = Counter()
  # `utf-8-sig` also takes the mark that spreadsheets put at the beginning.
  with open(manifest, encoding="utf-8-sig", newline="") as file:
    reader = csv.DictReader(file)
    try:
      columns = reader.fieldnames or []
      required = ("path" if needs_audio else "text", *_REQUIRED)
      missing = [name for name in required if name not in columns]
      if missing:
        raise UserError(
          f"{manifest}, line 1: no column {', '.join(missing)}; "
          f"expected {LAYOUT}; found {', '.join(columns) or 'nothing'}"
        )
      for row in reader:
        where = f"{manifest}, line {reader.line_num}"
        yield _read_row(row, where, manifest.parent, rows_of, needs_audio)
    except UnicodeDecodeError as error:
      raise UserError(f"{manifest}: not UTF-8; save it as such") from error
    except csv.Error as error:
      raise UserError(
        f"{manifest}, line {reader.line_num}: not CSV ({error})"
      ) from error


read_text = functools.partial(read, needs_audio=False)


def _read_row(
  row: dict, where: str, folder: pathlib.Path, rows_of: Counter, needs_audio
) -> Utterance:
  """Checks one row; counts in `rows_of` how many a dialogue has had."""
  if None in row or None in row.values():
    raise UserError(
      f"{where}: not as many fields as columns; put a text that holds a comma "
      "in double quotes"
    )
  row = {name: value.strip() for name, value in row.items()}
  if not row["speaker"]:
    raise UserError(f"{where}: no speaker; each recording needs one")
  name = row.get("path", "")
  if needs_audio and not name:
    raise UserError(f"{where}: no path; each row names a recording")
  recording = folder / name
  if needs_audio and not recording.is_file():
    raise UserError(f"{where}: no such file: {recording}")
  dialogue = row.get("dialogue") or f"{name} ({where.rpartition(', ')[2]})"
  session = normalise_session(row.get("session", ""))
  turn = row.get("turn") or rows_of[session, dialogue]
  rows_of[session, dialogue] += 1
  try:
    turn = int(turn)
  except ValueError as error:
    raise UserError(
      f"{where}: turn {turn!r} is no whole number; correct or remove it"
    ) from error
  path = str(recording) if recording.is_file() else ""
  label, text = canonical(row["label"], where), row.get("text", "")
  return Utterance(path, label, row["speaker"], dialogue, turn, session, text)
