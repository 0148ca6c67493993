"""Where the tables and images of a corpus are, as people unpack them.

Archives nest what is in them by a folder or two, and users name the folder
above, the one below or the table itself.
"""

import dataclasses
import itertools
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from emojax import spelling
from emojax.corpora.images import SUFFIXES
from emojax.corpora.records import PARTS, Face, draw_order, part_of
from emojax.errors import UserError, one_line
from emojax.runtime import archives, files, walk

_LOG = logging.getLogger(__name__)

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".001", ".rar")
_LONGEST_LINE = 1 << 20  # Characters.
_SHARE = 0.2  # Of the training images, for validation.
_DEPTH = 3  # Folders between the one that is given and what is looked for.


class Placed(NamedTuple):
  """An image, and the folders that it is in."""

  part: str  # One of `records.PARTS`.
  label: str  # The folder in the part's; '' of an image beside those.
  folder: str  # Of the label, in the root, such as 'train/happy'.
  name: str  # In the root, such as 'train/happy/anna/1.png'.
  path: pathlib.Path


def table(path: str | os.PathLike, names: Sequence[str]) -> pathlib.Path | None:
  """The nearest file of some names, in any spelling; None if there is none.

  It is in a folder, or up to three levels below it. A file is itself, whatever
  its name.

  Raises:
    UserError: there is only one that is packed, or a pointer to it.
  """
  found = [pathlib.Path(path)]
  if not os.path.isfile(path):
    found = [
      file
      for folder in walk.folders(path, _DEPTH)
      for name in names
      if (file := walk.locate(folder / name))
    ]
  why = [archives.packed(file) or files.stand_in(file) for file in found]
  if all(why) and found:
    raise UserError(f"{found[0]}: {why[0]}")
  return found[why.index("")] if found else None


def folder(
  table: pathlib.Path, path: str | os.PathLike, names: Sequence[str]
) -> pathlib.Path | None:
  """The folder that belongs to a table, by one of its names, in any spelling.

  `names` such as 'image/origin' are looked for beside the table and one and two
  levels above it, then the last part of each anywhere in `path`.
  """
  beside = (
    walk.spelt(base / name)
    for base in list(table.parents)[:3]
    for name in names
  )
  found = next((one for one in beside if os.path.isdir(one)), None)
  if found is None and os.path.isdir(path):
    wanted = [spelling.key(pathlib.PurePath(name).name) for name in names]
    below = [
      one
      for one in walk.folders(path, _DEPTH)
      if spelling.key(one.name) in wanted
    ]
    found = below[0] if below else None
  return found and _unnested(found)


def _unnested(found: pathlib.Path) -> pathlib.Path:
  """`aligned` of `aligned/aligned`, as some programs unpack an archive."""
  twin = found / found.name
  if not os.path.isdir(twin):
    return found
  with os.scandir(found) as entries:
    return found if any(entry.is_file() for entry in entries) else twin


def not_found(path: str | os.PathLike, what: str, expected: str) -> UserError:
  """The error about what is not in a folder, or is still in an archive."""
  packed = [
    file.name
    for one in walk.folders(path, 1)
    for file in sorted(one.iterdir())
    if file.suffix.lower() in _ARCHIVES and os.path.isfile(file)
  ]
  unpack = f"; unpack {', '.join(packed[:3])} first" if packed else ""
  return UserError(f"{path}: no {what}{unpack}; expected {expected}")


class Names:
  """The files of one folder, listed once, by the names that lists give them."""

  def __init__(self, folder: pathlib.Path):
    """Lists a folder; a `UserError` says that it is closed."""
    self._folder = folder
    try:
      self._there = set(os.listdir(folder))
    except OSError as error:
      raise UserError(
        f"{folder}: can not be read ({error.strerror})"
      ) from error
    self._by_key: dict[str, list[str]] = {}

  def path(self, name: str) -> str:
    """The path that a name means, in any spelling; its own if none is there."""
    if name in self._there:
      return os.path.join(self._folder, name)
    if "/" in name or "\\" in name:
      path = self._folder / name
      return str(walk.locate(path) or path)
    if not self._by_key:
      for one in self._there:
        self._by_key.setdefault(spelling.key(one), []).append(one)
    found = self._by_key.get(spelling.key(name), ())
    return os.path.join(self._folder, found[0] if len(found) == 1 else name)


def lines(table: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields 'TABLE, line 3' and the line, without blanks around it, if any.

  Raises:
    UserError: it is closed or not UTF-8, or has lines of a million characters.
  """
  try:
    with open(table, encoding="utf-8-sig") as file:
      for number in itertools.count(1):
        line = file.readline(_LONGEST_LINE)
        if not line:
          return
        if len(line) == _LONGEST_LINE:
          raise UserError(
            f"{table}, line {number}: too long; no list of images"
          )
        if line.strip():
          yield f"{table}, line {number}", line.strip()
  except UnicodeDecodeError as error:
    raise UserError(f"{table}: not UTF-8; save it as such") from error
  except OSError as error:
    raise UserError(f"{table}: can not be read ({error.strerror})") from error


def listed(
  table: pathlib.Path,
  path: str | os.PathLike,
  names: Sequence[str],
  read_line: Callable[[str, Names, str], Face],
  expected: str,
) -> tuple[pathlib.Path, list[Face]]:
  """The folder of images that belongs to a list, and the face of each line.

  Args:
    table, path, names: see `folder`.
    read_line: of a line, the files of the folder, and 'TABLE, line 3'.
    expected: ends the error where there is no such folder.
  """
  images = folder(table, path, names)
  if images is None:
    raise not_found(path, f"folder {names[0]}", expected)
  there = Names(images)
  return images, [read_line(line, there, where) for where, line in lines(table)]


def each_once(where: pathlib.Path, faces: Sequence[Face]) -> list[Face]:
  """The faces of different names; how many came again is said.

  One that has the name of another and another box is named by that, too.

  Raises:
    UserError: one came again with another label or in another part.
  """
  first: dict[tuple, Face] = {}
  for face in faces:
    known = first.setdefault((face.name, face.box), face)
    for one, other in (known.label, face.label), (known.part, face.part):
      if one != other:
        raise UserError(
          f"{where}: {face.name} is there twice, as {one or 'nothing'} and as "
          f"{other or 'nothing'}; remove one of the two"
        )
  if len(first) < len(faces):
    _LOG.warning(
      "%s: %d images are there twice, and count once",
      *(where, len(faces) - len(first)),
    )
  named: dict[str, Face] = {}
  for face in first.values():
    name = face.name
    if name in named:
      name = " ".join(map(str, (name, *(face.box or ()))))
    named[name] = dataclasses.replace(face, name=name)
  if count := len(first) - len({face.name for face in first.values()}):
    _LOG.warning(
      "%s: %d faces have the name of another one, whose box is another: they "
      "count as well",
      *(where, count),
    )
  return list(named.values())


def warn_unlisted(folder: pathlib.Path, faces: Sequence[Face]) -> None:
  """Counts images of a folder that are no face of a list."""
  listed = {face.path for face in faces}
  others = [
    path
    for path in walk.find(folder, SUFFIXES).paths
    if str(path) not in listed
  ]
  walk.warn_unread(folder, others, "that the list does not name")


def find_parts(path: str | os.PathLike) -> pathlib.Path | None:
  """The folder, at most three levels below, that holds one for training."""
  for one in walk.folders(path, _DEPTH + 1):
    if part_of(one.name) == "train" and one != pathlib.Path(path):
      return one.parent
  return None


def placed(
  root: pathlib.Path, expected: str, has_parts: bool = True
) -> list[Placed]:
  """All images of `PART/LABEL/…`: by part, then sorted by path.

  Or of `LABEL/…` without parts, which are all for training.

  Warnings count what is not read, and name folders of labels without an image.

  Raises:
    UserError: there are images in a folder that is no part.
  """
  found = walk.find(root, SUFFIXES)
  walk.warn_unread(root, found.others)
  ours, outside = [], []
  start = len((root / "x").as_posix()) - 1  # Also of '.' and '/'.
  for path in found.paths:
    name = path.as_posix()[start:]
    folders = name.split("/")[:-1]
    if not folders:
      outside.append(path)
    elif not has_parts:
      ours.append(Placed("train", folders[0], folders[0], name, path))
    elif not (part := part_of(folders[0])):
      raise UserError(
        f"{root}: folder {folders[0]} is no part; expected {expected}; rename "
        "or remove it, and put folders of labels into those of parts"
      )
    else:
      label = folders[1] if len(folders) > 1 else ""
      ours.append(Placed(part, label, "/".join(folders[:2]), name, path))
  walk.warn_unread(root, outside, "outside of the parts")
  _warn_of_empty(root, ours)
  return sorted(ours, key=lambda one: PARTS.index(one.part))


def photograph(face: Face) -> str:
  """What faces have in common that are of one photograph."""
  return face.name if face.box is None else face.path


def with_validation(
  where: str | os.PathLike,
  faces: Sequence[Face],
  expected: str,
  what: str = "image in a folder",
  group_of: Callable[[Face], str] = photograph,
) -> list[Face]:
  """Draws a fifth of the training part for validation, if there is none.

  Faces of one group stay together, as those of one photograph or person.
  `expected` and `what` are of the error: 'no `what` test; expected …'.

  Raises:
    UserError: there is no training or no test part.
  """
  parts = {face.part for face in faces}
  for part in ("train", "test"):
    if faces and part not in parts:
      raise UserError(
        f"{where}: no {what} {part}; expected {expected}; give it one (where "
        "there is no validation, a fifth of train is drawn for it)"
      )
  if "validation" in parts or not faces:
    return list(faces)
  drawn = draw_validation(faces, group_of)
  _LOG.warning(
    "%s: no %s validation: %d of %d images of train are drawn for it at "
    "random, always the same",
    *(where, what, sum(face.part == "validation" for face in drawn)),
    sum(face.part == "train" for face in faces),
  )
  return sorted(drawn, key=lambda face: PARTS.index(face.part))


def draw_validation(
  faces: Sequence[Face], group_of: Callable[[Face], str] = photograph
) -> list[Face]:
  """The faces in their order, a fifth of the training part for validation.

  Whole groups are drawn until there are enough; one of all faces is none.
  """
  groups: dict[str, list[int]] = {}
  for row, face in enumerate(faces):
    if face.part == "train":
      groups.setdefault(group_of(face), []).append(row)
  units = list(groups.values())
  if len(units) == 1:
    units = [[row] for row in units[0]]
  faces, missing = list(faces), math.ceil(_SHARE * sum(map(len, units)))
  for index in draw_order(len(units)):
    if missing <= 0:
      break
    for row in units[index]:
      faces[row] = dataclasses.replace(faces[row], part="validation")
    missing -= len(units[index])
  return faces


def _warn_of_empty(root: pathlib.Path, ours: Sequence[Placed]) -> None:
  filled = {one.folder for one in ours}
  empty = [
    "/".join(parts)
    for one in walk.folders(root, 2)
    if len(parts := one.relative_to(root).parts) == 2
    and part_of(parts[0])
    and "/".join(parts) not in filled
  ]
  if empty:
    _LOG.warning("%s: no image in %s", root, one_line(", ".join(empty)))
