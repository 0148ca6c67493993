"""The user's own recordings, listed in a CSV file."""

import functools
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from emojax import spelling
from emojax.corpora import delimited, records
from emojax.corpora.labels import canonical
from emojax.corpora.records import Once, Utterance
from emojax.errors import UserError
from emojax.runtime import walk

LAYOUT = (
  "a CSV file with the columns path,label,speaker and, if known, "
  "dialogue,turn,session,text,start,end (the last two in seconds)"
)
_UNLABELLED = LAYOUT.replace("label,", "")
SOURCE = "paths in it are relative to the file's own folder"

_PLACE = "path", "start", "end"  # Where a recording is.
COLUMNS = (*_PLACE, "label", "speaker", "dialogue", "turn", "session", "text")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]*)?|\.[0-9]+")
# Names of columns that look as if they said what of a file is heard.
_HEARD = (
  *("start", "end", "begin", "stop", "onset", "offset", "duration", "channel"),
  *("from", "to", "length", "xmin", "xmax", "tmin", "tmax"),
)


def read(
  path: str, needs_audio: bool = True, needs_label: bool = True
) -> Iterator[Utterance]:
  """Yields the rows of a manifest, in its order.

  Without a dialogue, a recording is a dialogue of its own. Without a turn, the
  turns of a dialogue are in the order of the rows. An empty label is allowed:
  the recording is used without one. With a start or an end, a recording is that
  part of its file. For `read_text`, paths may be empty, or of no file. Where no
  label is needed, none is read. A row that is there again counts once.

  Raises:
    UserError: no table of text, a missing column, a broken row, an unknown
      label, an empty speaker, a missing recording, one that two rows tell
      different things of; with its line number.
  """
  manifest = pathlib.Path(path)
  if manifest.is_dir():
    raise UserError(f"{manifest}: a folder; expected {LAYOUT}")
  rows = delimited.read(manifest, _columns(needs_audio, needs_label))
  known = {
    name: spelling.unify(
      (row.values.get(name, "") for row in rows), f"{manifest}: {name}"
    )
    for name in ("speaker", "dialogue")
  }
  known["session"] = records.unify_sessions(
    (row.values.get("session", "") for row in rows), str(manifest)
  )
  turns_of: dict[tuple[str, str], list[bool]] = {}
  once = Once(manifest)
  for where, values in rows:
    values |= {name: of[values.get(name, "")] for name, of in known.items()}
    found = _recording(manifest.parent, values, where, rows, needs_audio)
    label = canonical(values["label"], where) if needs_label else ""
    values["label"] = label
    segment = _segment(values, where)
    facts = {n: value for n, value in values.items() if n not in _PLACE}
    if once.is_new(_identity(found, values, segment), facts, where):
      yield _utterance(values, found, segment, where, turns_of)
  once.warn()


read_text = functools.partial(read, needs_audio=False)


def _columns(needs_audio: bool, needs_label: bool) -> delimited.Columns:
  required = ("path" if needs_audio else "text",)
  required += ("label", "speaker") if needs_label else ("speaker",)
  filled = {"speaker": "each recording needs one"}
  if needs_audio:
    filled["path"] = "each row names a recording"
  return delimited.Columns(
    required,
    optional=tuple(name for name in COLUMNS if name not in required),
    names=("speaker", "dialogue", "session"),
    words=("text",),
    filled=filled,
    known=("probability", "rank"),  # Of what `emojax clean` has kept.
    expected=f"expected {LAYOUT if needs_label else _UNLABELLED}",
    unused=_would_be_heard,
  )


def _would_be_heard(unused: Sequence[str]) -> str:
  """What to say where a column may say which part of a file is meant."""
  heard = [
    name
    for name in unused
    if set(_HEARD) & set(spelling.key(name).replace("_", " ").split())
  ]
  if not heard:
    return ""
  says = "says" if len(heard) == 1 else "say"
  return (
    f"; whatever {', '.join(heard)} {says}, all channels of a file are heard, "
    "and all of it or what is from start to end, in seconds"
  )


def _recording(
  folder: pathlib.Path, values: dict, where: str, rows, needs_audio: bool
) -> pathlib.Path | None:
  """The file of a row; None where there is none and none is needed."""
  name = values.get("path", "")
  path = folder / os.path.expanduser(name)
  found = walk.locate(path) if name else None
  if found or not needs_audio:
    return found
  if os.path.isdir(path):
    raise UserError(
      f"{where}: {delimited.shown(path)}: a folder; each row names a recording"
    )
  if alike := walk.alike(path):
    raise UserError(
      f"{where}: {delimited.shown(path)}: not there as it is spelt, but as "
      f"{' and '.join(map(repr, alike))}; write which one is meant"
    )
  paths = (folder / os.path.expanduser(row.values["path"]) for row in rows)
  missing = sum(walk.locate(path) is None for path in paths)
  others = f" (nor of {missing - 1} other rows)" if missing > 1 else ""
  raise UserError(f"{where}: no such file: {delimited.shown(path)}{others}")


def _segment(values: dict, where: str) -> tuple[float, float | None]:
  """From which second to which; None is the end of the file."""
  seconds = {}
  for name in ("start", "end"):
    value = values.get(name, "")
    if value and not _SECONDS.fullmatch(value):
      comma = ", with a point in place of the comma" if "," in value else ""
      raise UserError(
        f"{where}: {name} {value[:60]!r} is no number of seconds; write it as "
        f"12.5{comma}"
      )
    seconds[name] = float(value) if value else None
  start, end = seconds["start"] or 0.0, seconds["end"]
  if end is not None and end <= start:
    raise UserError(
      f"{where}: end {end:g} is not after start {start:g}; correct one of them"
    )
  return start, end


def _utterance(
  values: dict,
  found: pathlib.Path | None,
  segment: tuple[float, float | None],
  where: str,
  turns_of: dict[tuple[str, str], list[bool]],
) -> Utterance:
  """Checks one row; `turns_of` says which of a dialogue have had a turn."""
  line = where.rpartition(", ")[2]
  dialogue = values["dialogue"] or f"{values.get('path', '')} ({line})"
  session = values["session"]
  had = turns_of.setdefault((session, dialogue), [])
  turn, has_turn = len(had), bool(values.get("turn"))
  if had and had[0] != has_turn:
    raise UserError(
      f"{where}: of dialogue {dialogue[:60]!r} some rows have a turn and some "
      "have none; give it in all of them or in none"
    )
  if has_turn:
    turn = delimited.whole(values["turn"], where, "turn")
  had.append(has_turn)
  return Utterance(
    path=str(found or ""),
    label=values["label"],
    speaker=values["speaker"],
    dialogue=dialogue,
    turn=turn,
    session=session,
    text=values.get("text", ""),
    start=segment[0],
    end=segment[1],
  )


def _identity(
  found: pathlib.Path | None, values: dict, segment: tuple
) -> tuple | None:
  """What two rows of the same recording have in common; None of no one else.

  Of a file, whatever leads to it; else of words in a place of a dialogue.
  """
  if found:
    status = found.stat()
    # Some file systems number no files.
    file = (status.st_dev, status.st_ino) if status.st_ino else str(found)
    return file, segment
  if values.get("path"):
    return values["path"], segment
  place = [values.get(name, "") for name in ("dialogue", "turn")]
  if not all(place):
    return None
  return (*place, values["session"], values["speaker"], values.get("text", ""))
