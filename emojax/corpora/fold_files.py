"""Files that say which clip is in which part of which fold.

Ours is a table; EmoBox (https://github.com/emo-box/EmoBox) has a folder for
each fold, with a file for each part.
"""

import json
import os
import pathlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from emojax import spelling
from emojax.corpora import delimited
from emojax.corpora.records import PART_SPELLINGS, part_of
from emojax.errors import UserError
from emojax.runtime import walk

LAYOUT = (
  "a CSV file with the columns path,part,fold (part: train, validation or "
  "test), or EmoBox's folder of fold_1/NAME_train_fold_1.jsonl and so on"
)
_COLUMNS = delimited.Columns(
  ("path", "part", "fold"),
  optional=("speaker",),
  names=("fold", "speaker"),
  filled=dict.fromkeys(("path", "fold"), "each row has path, part and fold"),
  expected=f"expected {LAYOUT}",
)
# A few of EmoBox's files are there as `…_fold1`, too, in another form.
_NAME = re.compile(
  rf"(.+)_({'|'.join(PART_SPELLINGS)})_fold(_?)(\d{{1,4}})\.(jsonl?)",
  re.IGNORECASE,
)
_NUMBER = re.compile(r"\d{1,4}")


class Clip(NamedTuple):
  """Where a file says it, a clip, and its part in a fold."""

  where: str
  path: str  # With '/' between folders, without '.'.
  part: str  # 'train', 'validation' or 'test'.
  fold: str  # As it is called: 'fold 1' where the file has 1.
  speaker: str  # '' where the file does not say it.


Folds = dict[str, list[Clip]]  # By what a fold is called.


def read(path: str | os.PathLike) -> dict[str, Folds]:
  """Reads a table of clips, or EmoBox's files below a folder.

  Returns:
    The folds by the name of the corpus, as the files have it; that of a table
    is ''. Each has a training and a test part, and each clip is once in a part.

  Raises:
    UserError: no such file, none in either form, a part of no known name, a
      fold without a training or a test part.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    found = _read_folder(path)
  elif path.suffix.lower() in (".json", ".jsonl"):
    raise UserError(f"{path}: one part of one fold; name the folder of all")
  else:
    found = {"": _read_table(path)}
  for corpus, clips in found.items():
    if not clips:
      what = f"{corpus} names" if corpus else "names"
      raise UserError(f"{path}: {what} no clip; expected {LAYOUT}")
  return {name: _by_fold(clips, path, name) for name, clips in found.items()}


def _by_fold(clips: Sequence[Clip], path: pathlib.Path, corpus: str) -> Folds:
  """Sorts by number, or leaves the order of the file; checks the parts."""
  names = list(dict.fromkeys(one.fold for one in clips))
  if all(map(_NUMBER.fullmatch, names)):
    known = {n: f"fold {int(n)}" for n in sorted(names, key=int)}
  else:
    known = spelling.unify(names, f"{path}: fold")
  folds: dict[str, dict[tuple[str, str], Clip]] = {
    called: {} for called in known.values()
  }
  for one in clips:
    folds[known[one.fold]].setdefault((one.part, one.path), one)
  named = {}
  for called, found in folds.items():
    there = {part for part, _ in found}
    if missing := [part for part in ("train", "test") if part not in there]:
      raise UserError(
        f"{path}: {f'{corpus}, ' if corpus else ''}{called} has no "
        f"{' and no '.join(missing)} part; name the clips of both"
      )
    named[called] = [one._replace(fold=called) for one in found.values()]
  return named


def _read_table(path: pathlib.Path) -> list[Clip]:
  rows = delimited.read(path, _COLUMNS)
  known = spelling.unify(
    (row.values.get("speaker", "") for row in rows), f"{path}: speaker"
  )
  clips, first = [], {}
  for where, values in rows:
    part = part_of(values["part"])
    if not part:
      raise UserError(
        f"{where}: part {values['part'][:60]!r}: there are train, validation "
        "and test"
      )
    name, speaker = _plain(values["path"]), known[values.get("speaker", "")]
    other = first.setdefault(name, (where, speaker))
    if other[1] != speaker:
      raise UserError(
        f"{where}: the clip of {other[0]}, there with speaker {other[1]!r}, "
        f"here with {speaker!r}; correct one of the two"
      )
    clips.append(Clip(where, name, part, values["fold"], speaker))
  return clips


def _read_folder(folder: pathlib.Path) -> dict[str, list[Clip]]:
  """All of EmoBox's files below a folder, by corpus."""
  chosen: dict[tuple[str, int, str], pathlib.Path] = {}
  unused = []
  for path in _best_first(walk.find(folder, {".json", ".jsonl"}).paths):
    name, part, _, number, _ = _NAME.fullmatch(path.name).groups()
    key = name, int(number), part_of(part)
    if chosen.setdefault(key, path) != path:
      same = chosen[key].parent == path.parent
      if not same:
        raise UserError(
          f"{folder}: two files of one part: {chosen[key]} and {path}; name "
          "the folder of one of them"
        )
      if path.suffix == chosen[key].suffix:
        unused.append(path)
  walk.warn_unread(folder, unused, "of parts that other files have")
  if not chosen:
    raise UserError(f"{folder}: no fold files found; expected {LAYOUT}")
  found: dict[str, list[Clip]] = {}
  for (name, number, part), path in sorted(chosen.items()):
    clips = found.setdefault(name, [])
    for where, wav in _wavs(path):
      clips.append(Clip(where, _plain(wav), part, str(number), ""))
  return found


def _best_first(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Those that are named as fold files: lines first, then objects."""
  named = [path for path in paths if _NAME.fullmatch(path.name)]
  return sorted(
    named,
    key=lambda p: (not _NAME.fullmatch(p.name)[3], p.suffix == ".json", p),
  )


def _wavs(path: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields where a clip is named and its path: EmoBox's field `wav`.

  In `.jsonl` each line is a clip; `.json` has them all, by their keys.
  """
  text = delimited.decode(path)
  if path.suffix.lower() == ".json":
    clips = _parse(text, str(path))
    clips = clips.values() if isinstance(clips, Mapping) else clips
    rows = [(f"{path}, clip {i}", one) for i, one in enumerate(clips, 1)]
  else:
    lines = enumerate(re.split("\r\n?|\n", text), 1)
    places = ((f"{path}, line {i}", line) for i, line in lines if line.strip())
    rows = ((where, _parse(line, where)) for where, line in places)
  for where, one in rows:
    wav = one.get("wav") if isinstance(one, Mapping) else None
    if not isinstance(wav, str) or not wav.strip():
      raise UserError(
        f'{where}: no clip with its path as "wav"; expected {LAYOUT}'
      )
    yield where, wav.strip()


def _parse(text: str, where: str) -> list | Mapping:
  try:
    found = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise UserError(f"{where}: not JSON ({error}); copy it again") from error
  if not isinstance(found, (list, Mapping)):
    raise UserError(f"{where}: {found!r:.60} where clips should be")
  return found


def _plain(path: str) -> str:
  return posixpath.normpath(path.replace("\\", "/"))
