"""Your own faces: `PART/LABEL/IMAGE`, such as `train/happy/anna.png`."""

import pathlib
from collections.abc import Iterator

from emojax import spelling
from emojax.corpora import layout
from emojax.corpora.images import SUFFIXES
from emojax.corpora.labels import canonical
from emojax.corpora.records import PARTS, Face
from emojax.errors import UserError
from emojax.runtime import archives, walk

LAYOUT = f"train/happy/anna.png and so on, in {', '.join(PARTS)}"
SOURCE = f"the images are yours, of the types {' '.join(sorted(SUFFIXES))}"


def read(path: str) -> Iterator[Face]:
  """Yields the images part by part, sorted by label and name.

  They may lie deeper, such as in `train/happy/anna/1.png`. Without a folder
  `validation` that part is drawn from the training images, always the same for
  as many; images of one folder in those of the labels, `anna`, stay together.
  Hidden files are left out; others that are no images are counted.

  Raises:
    UserError: no folder for training or none for test, a folder of images that
      is not named after one of `records.PARTS`, or one below after a label that
      nobody knows.
  """
  root = pathlib.Path(path)
  if not root.is_dir():
    why = archives.packed(root) or "not a folder"
    raise UserError(f"{root}: {why}; expected {LAYOUT}")
  root = layout.find_parts(root) or root
  yield from layout.with_validation(
    root, images(root), LAYOUT, group_of=_together
  )


def _together(face: Face) -> str:
  """`anna` of `train/happy/anna/1.png`; where there is no such folder, all."""
  return "/".join(face.name.split("/")[2:-1]) or face.name


def read_any(path: str) -> list[Face]:
  """The images of a folder as they are, with parts or without.

  Without parts they are `LABEL/IMAGE`, all for training. Nothing is drawn for
  validation. Raises what `read` does.
  """
  root = layout.find_parts(path)
  return images(root or pathlib.Path(path), has_parts=root is not None)


def images(root: pathlib.Path, has_parts: bool = True) -> list[Face]:
  """The images of a folder of parts, in these; see `read`."""
  placed = layout.placed(root, LAYOUT, has_parts)
  unlabelled = [one.path for one in placed if not one.label]
  walk.warn_unread(root, unlabelled, "outside of the folders of labels")
  labelled = [one for one in placed if one.label]
  spelling.unify((one.label for one in labelled), f"{root}: label")
  labels = {
    folder: canonical(label, str(root / folder))
    for label, folder in dict.fromkeys((o.label, o.folder) for o in labelled)
  }
  return [
    Face(str(one.path), labels[one.folder], one.part, one.name)
    for one in labelled
  ]
