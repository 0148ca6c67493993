"""The one walk over a user's folders: what is there, and what of it is read."""

import collections
import functools
import logging
import os
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from emojax import spelling
from emojax.errors import one_line

_LOG = logging.getLogger(__name__)

_NAMED = 3  # Files that a message names.
_KINDS = 8  # Types of files that it counts.


class Found(NamedTuple):
  """The files of a folder: of the types that are looked for, and the others.

  Either is sorted by path. A link that leads nowhere is a file of the type that
  its name says: whoever reads it says that it is not there. A pipe, and a
  folder that may not be entered, is among the others.
  """

  paths: list[pathlib.Path]
  others: list[pathlib.Path]


def find(folder: str | os.PathLike, suffixes: Collection[str]) -> Found:
  """Finds the files below a folder, those of some types (`.wav`) apart.

  Folders behind links are entered, and each real folder is read once, also
  where links make a circle: by the way without links, if there is one. Hidden
  files and folders, which macOS adds to archives, are left out. Of no folder
  nothing is found.
  """
  paths, others = [], []
  if not os.path.isdir(folder):
    return Found(paths, others)
  for path in _entries(pathlib.Path(folder)):
    is_read = path.suffix.lower() in suffixes and _may_be_read(path)
    (paths if is_read else others).append(path)
  return Found(sorted(paths), sorted(others))


def _may_be_read(path: pathlib.Path) -> bool:
  """A file, or one that should be there; to open a pipe would wait."""
  # Not `path.is_file()`, which raises in a folder that may not be entered.
  return os.path.isfile(path) or (
    os.path.islink(path) and not os.path.exists(path)
  )


def _entries(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """All files, links to nothing, and folders that may not be entered."""
  waiting, linked = collections.deque([folder]), collections.deque()
  seen = set()
  while waiting or linked:
    path = (waiting or linked).popleft()
    try:
      status = path.stat()
      if (status.st_dev, status.st_ino) in seen:
        continue
      seen.add((status.st_dev, status.st_ino))
      entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
      yield path
      continue
    for entry in entries:
      if entry.name.startswith("."):
        continue
      if not _is_folder(entry):
        yield path / entry.name
      elif entry.is_symlink():
        linked.append(path / entry.name)
      else:
        waiting.append(path / entry.name)


def _is_folder(entry: os.DirEntry) -> bool:
  try:
    return entry.is_dir()
  except OSError:  # A link to itself.
    return False


def warn_unread(
  folder: str | os.PathLike,
  others: Sequence[pathlib.Path],
  why: str = "of other types",
) -> None:
  """Says how many files below a folder were not read, if any, and which.

  `why` follows their number: 'FOLDER: 6 files of other types were not read: …'.
  """
  files = [path for path in others if os.path.isfile(path)]
  rest = [path for path in others if not os.path.isfile(path)]
  if files and rest:
    warn_unread(folder, files, why)
    others = rest
  if not others:
    return
  if rest:
    why = "of another kind (link to nothing, pipe, closed folder)"
  kinds = collections.Counter(
    path.suffix.lower() or "no type" for path in others
  )
  counts = [f"{count} {kind}" for kind, count in kinds.most_common(_KINDS)]
  named = ", ".join(
    one_line(
      str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    )
    for path in others[:_NAMED]
  )
  count = "1 file" if len(others) == 1 else f"{len(others)} files"
  were = "was" if len(others) == 1 else "were"
  more = ", …" if len(others) > _NAMED or len(kinds) > _KINDS else ""
  _LOG.warning(
    "%s: %s %s %s not read: %s (%s%s)",
    *(one_line(str(folder)), count, why, were, ", ".join(counts), named, more),
  )


def locate(path: str | os.PathLike) -> pathlib.Path | None:
  r"""The file that a path means; None where there is none.

  That is the path itself, else the one file whose path differs only in the
  spelling (case, blanks, Unicode form), with '/' for '\\' of Windows.
  """
  path = pathlib.Path(path)
  # Not `path.is_file()`, which raises for names that are too long.
  if os.path.isfile(path):
    return path
  if "\\" in str(path):
    return locate(str(path).replace("\\", "/"))
  folder = _spelt(path.parent)
  found = folder and _spelt(folder / path.name)
  return found if found and os.path.isfile(found) else None


def alike(path: pathlib.Path) -> list[str]:
  """The names in a path's folder that differ from its own in spelling only."""
  parent = _spelt(path.parent)
  if parent is None or not os.path.isdir(parent):
    return []
  try:
    names = _names(str(parent), parent.stat().st_mtime_ns)
  except OSError:  # A folder that may not be read.
    return []
  return sorted(names.get(spelling.key(path.name), ()))


def spelt(path: pathlib.Path) -> pathlib.Path:
  """A path as the file system spells it; itself where it leads to nothing."""
  return _spelt(path) or path


def _spelt(path: pathlib.Path) -> pathlib.Path | None:
  """The path as the file system spells it, if one entry alone is meant."""
  if os.path.exists(path):
    return path
  names = alike(path) if path.parent != path else []
  return _spelt(path.parent) / names[0] if len(names) == 1 else None


@functools.lru_cache(maxsize=1024)
def _names(folder: str, changed: int) -> dict[str, list[str]]:
  """The names in a folder, as it was when it last changed, by their keys."""
  del changed
  names: dict[str, list[str]] = {}
  for name in os.listdir(folder):
    names.setdefault(spelling.key(name), []).append(name)
  return names


def folders(path: str | os.PathLike, depth: int) -> Iterator[pathlib.Path]:
  """Yields a folder and those up to `depth` levels below, the nearest first.

  As in `find`, links are followed, each real folder comes once, and hidden ones
  are left out.
  """
  level, seen = [pathlib.Path(path)], set()
  for _ in range(depth + 1):
    below = []
    for folder in level:
      try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
          continue
        seen.add((status.st_dev, status.st_ino))
        names = sorted(e.name for e in os.scandir(folder) if _is_folder(e))
      except OSError:
        continue
      yield folder
      below += [folder / name for name in names if not name.startswith(".")]
    level = below
