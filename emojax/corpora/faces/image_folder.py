"""Your own faces: `PART/LABEL/IMAGE`, such as `train/happy/anna.png`."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Sequence

from emojax import spelling
from emojax.corpora import layout
from emojax.corpora.images import SUFFIXES
from emojax.corpora.labels import canonical
from emojax.corpora.records import PARTS, Face, draw
from emojax.errors import UserError
from emojax.runtime import archives, walk

_LOG = logging.getLogger(__name__)

LAYOUT = f"train/happy/anna.png and so on, in {', '.join(PARTS)}"
SOURCE = f"the images are yours, of the types {' '.join(sorted(SUFFIXES))}"

_SHARE = 0.2  # Of the training images, for validation.


def read(path: str) -> Iterator[Face]:
  """Yields the images part by part, sorted by label and name.

  They may lie deeper, such as in `train/happy/anna/1.png`. Without a folder
  `validation` that part is drawn from the training images, always the same.
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
  yield from with_validation(root, images(root))


def images(root: pathlib.Path) -> list[Face]:
  """The images of a folder of parts, in these; see `read`."""
  placed = layout.placed(root, LAYOUT)
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


def with_validation(root: pathlib.Path, faces: Sequence[Face]) -> list[Face]:
  """Draws a fifth of the training part for validation, if there is none.

  Raises:
    UserError: there is no training or no test part.
  """
  parts = {face.part for face in faces}
  for part in ("train", "test"):
    if faces and part not in parts:
      raise UserError(
        f"{root}: no image in a folder {part}; expected {LAYOUT}; rename one "
        "to it (where there is no validation, a fifth of train is drawn for it)"
      )
  if "validation" in parts or not faces:
    return list(faces)
  train = [row for row, face in enumerate(faces) if face.part == "train"]
  (drawn,) = draw(len(train), _SHARE)
  rows = {train[index] for index in drawn}
  _LOG.warning(
    "%s: no folder validation: %d of %d images of train are drawn for it at "
    "random, always the same",
    *(root, len(rows), len(train)),
  )
  drawn = [
    dataclasses.replace(face, part="validation") if row in rows else face
    for row, face in enumerate(faces)
  ]
  return sorted(drawn, key=lambda face: PARTS.index(face.part))
