"""The user's own faces, listed in a CSV file."""

import os
import pathlib
from collections.abc import Iterator, Mapping

from emojax.corpora import delimited, layout
from emojax.corpora.labels import canonical
from emojax.corpora.records import PARTS, Face, part_of
from emojax.errors import UserError
from emojax.runtime import walk

BOX = "left", "top", "right", "bottom"
LAYOUT = (
  f"a CSV file with the columns path,label and, if known, part "
  f"({', '.join(PARTS)}) and {','.join(BOX)} (of a face, in pixels)"
)
SOURCE = "paths in it are relative to the file's own folder"

_COLUMNS = delimited.Columns(
  ("path", "label"),
  optional=("part", *BOX),
  filled={"path": "each row names an image"},
  known=("probability", "rank"),  # Of what `emojax clean` has kept.
  expected=f"expected {LAYOUT}",
)


def read(path: str) -> Iterator[Face]:
  """Yields the rows of a manifest, in its order.

  Without a part a face is for training. An empty label is allowed: the face is
  left out where a label is needed. A row that is there again counts once. With
  no row for validation, that part is drawn as in `image_folder`.

  Raises:
    UserError: no table of text, a missing column, a broken row, an unknown
      label or part, a face that two rows tell different things of; with its
      line; no row for training, or none for test.
  """
  yield from layout.with_validation(
    path, read_any(path), LAYOUT, "row whose part is"
  )


def read_any(path: str) -> list[Face]:
  """The rows of any parts as they are; else as `read`."""
  manifest = pathlib.Path(path)
  if manifest.is_dir():
    raise UserError(f"{manifest}: a folder; expected {LAYOUT}")
  rows = delimited.read(manifest, _COLUMNS)
  faces = [_face(manifest.parent, row.values, row.where) for row in rows]
  return layout.each_once(manifest, faces)


def _face(folder: pathlib.Path, values: Mapping[str, str], where: str) -> Face:
  given = values.get("part", "")
  part = part_of(given) if given else "train"
  if not part:
    raise UserError(
      f"{where}: unknown part {given[:60]!r}; there are {', '.join(PARTS)}"
    )
  path = folder / os.path.expanduser(values["path"])
  box = _box(values, where)
  return Face(
    # Of one that is not there, whoever reads it says so.
    path=str(walk.locate(path) or path),
    label=canonical(values["label"], where),
    part=part,
    name=" ".join(map(str, (values["path"], *(box or ())))),
    box=box,
  )


def _box(
  values: Mapping[str, str], where: str
) -> tuple[int, int, int, int] | None:
  """The face in its image; None is the whole image."""
  given = [values.get(name, "") for name in BOX]
  if not any(given):
    return None
  if not all(given):
    raise UserError(
      f"{where}: of {', '.join(BOX)} one is missing; give all of them or none"
    )
  named = zip(given, BOX, strict=True)
  return tuple(delimited.whole(value, where, name) for value, name in named)
