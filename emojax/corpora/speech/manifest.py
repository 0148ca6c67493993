"""The user's own recordings, listed in a CSV file."""

import csv
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

_REQUIRED = ("path", "label", "speaker")


def read(path: str) -> Iterator[Utterance]:
  """Yields the rows of a manifest, in its order.

  Without a dialogue, a recording is a dialogue of its own. Without a turn, the
  turns of a dialogue are in the order of the rows. An empty label is allowed:
  the recording is used without one.

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
      missing = [name for name in _REQUIRED if name not in columns]
      if missing:
        raise UserError(
          f"{manifest}, line 1: no column {', '.join(missing)}; "
          f"expected {LAYOUT}; found {', '.join(columns) or 'nothing'}"
        )
      for row in reader:
        yield _read_row(row, reader.line_num, manifest, rows_of)
    except UnicodeDecodeError as error:
      raise UserError(f"{manifest}: not UTF-8; save it as such") from error
    except csv.Error as error:
      raise UserError(
        f"{manifest}, line {reader.line_num}: not CSV ({error})"
      ) from error


def _read_row(
  row: dict, line: int, manifest: pathlib.Path, rows_of: Counter
) -> Utterance:
  """Checks one row; counts in `rows_of` how many a dialogue has had."""
  where = f"{manifest}, line {line}"
  if None in row or None in row.values():
    raise UserError(
      f"{where}: not as many fields as columns; put a text that holds a comma "
      "in double quotes"
    )
  row = {name: value.strip() for name, value in row.items()}
  if not row["speaker"]:
    raise UserError(f"{where}: no speaker; each recording needs one")
  if not row["path"]:
    raise UserError(f"{where}: no path; each row names a recording")
  recording = manifest.parent / row["path"]
  if not recording.is_file():
    raise UserError(f"{where}: no such file: {recording}")
  dialogue = row.get("dialogue") or f"{row['path']} (line {line})"
  session = normalise_session(row.get("session", ""))
  turn = _read_turn(row.get("turn"), where, rows_of[session, dialogue])
  rows_of[session, dialogue] += 1
  return Utterance(
    path=str(recording),
    label=canonical(row["label"], where),
    speaker=row["speaker"],
    dialogue=dialogue,
    turn=turn,
    session=session,
    text=row.get("text", ""),
  )


def _read_turn(text: str | None, where: str, default: int) -> int:
  if not text:
    return default
  try:
    return int(text)
  except ValueError as error:
    raise UserError(
      f"{where}: turn {text!r} is no whole number; correct or remove it"
    ) from error
