"""ExpW: 91,793 faces in images of the web, seven emotions.

Zhang, Luo, Loy & Tang, "From Facial Expression Recognition to Interpersonal
Relation Prediction", IJCV 2018. An image may show several faces; a list says
where each of them is.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

from emojax.corpora import shipped
from emojax.corpora.faces.fer2013 import EMOTIONS
from emojax.corpora.labels import canonical
from emojax.corpora.records import Face, draw
from emojax.errors import UserError

_LIST = pathlib.PurePath("label", "label.lst")
_IMAGES = pathlib.PurePath("image", "origin")
LAYOUT = f"data/{_LIST} and the images in data/{_IMAGES}"
SOURCE = (
  "ExpW comes by form: "
  "http://mmlab.ie.cuhk.edu.hk/projects/socialrelation/index.html"
)

_FIELDS = "image, face, top, left, right, bottom, confidence and label"
_SHARE = 0.1  # Of the validation and of the test part.


def read(path: str) -> Iterator[Face]:
  """Yields the faces in `path`, the folder `data` or the one above, in order.

  There are no official parts. Li & Xu (2020, section 4.1) have 73,433 faces
  for training and 9,180 each for validation and test; here faces are drawn at
  random for these sizes, always the same.

  Raises:
    UserError: the list or the folder of images is missing, or a line of the
      list is not one of ExpW.
  """
  root = pathlib.Path(path)
  root = shipped.find_root(
    *(root, (root, root / "data"), _LIST, [_IMAGES]),
    f"expected {LAYOUT}; {SOURCE}",
  )
  table, folder = root / _LIST, str(root / _IMAGES)
  faces = [
    _read_line(line, folder, f"{table}, line {number}")
    for number, line in enumerate(
      table.read_text(encoding="utf-8").splitlines(), 1
    )
    if line.strip()
  ]
  drawn = draw(len(faces), _SHARE, _SHARE)
  for part, rows in zip(("validation", "test"), drawn, strict=True):
    for row in rows:
      faces[row] = dataclasses.replace(faces[row], part=part)
  yield from faces


def _read_line(line: str, folder: str, where: str) -> Face:
  # From the right, for an image whose name holds a blank.
  image, *fields = line.strip().rsplit(maxsplit=7)
  try:
    face, top, left, right, bottom = map(int, fields[:5])
    confidence, code = float(fields[5]), int(fields[6])
  except (ValueError, IndexError) as error:
    raise UserError(
      f"{where}: {line.strip()!r} does not have {_FIELDS}; copy the file from "
      "the release again"
    ) from error
  if not 0 <= code < len(EMOTIONS):
    raise UserError(
      f"{where}: unknown label {code}; ExpW has 0 to 6 for "
      f"{', '.join(EMOTIONS)}"
    )
  return Face(
    path=os.path.join(folder, image),
    label=canonical(EMOTIONS[code], where),
    part="train",
    name=f"{image} {face}",
    box=(left, top, right, bottom),
    confidence=confidence,
  )
