"""ExpW: 91,793 faces in images of the web, seven emotions.

Zhang, Luo, Loy & Tang, "From Facial Expression Recognition to Interpersonal
Relation Prediction", IJCV 2018. An image may show several faces; a list says
where each of them is.
"""

import dataclasses
from collections.abc import Iterator

from emojax.corpora import layout
from emojax.corpora.faces.fer2013 import EMOTIONS
from emojax.corpora.labels import canonical
from emojax.corpora.records import Face, draw
from emojax.errors import UserError

_LIST = "label.lst"
_IMAGES = ("image/origin", "origin")
LAYOUT = f"data/label/{_LIST} and the images in data/{_IMAGES[0]}"
SOURCE = (
  "ExpW comes by form: "
  "http://mmlab.ie.cuhk.edu.hk/projects/socialrelation/index.html"
)
LICENCE = "for research that is not commercial"

_FIELDS = "image, face, top, left, right, bottom, confidence and label"
_SHARE = 0.1  # Of the validation and of the test part.


def read(path: str) -> Iterator[Face]:
  """Yields the faces in `path`, the folder `data` or the one above, in order.

  There are no official parts. Li & Xu (2020, section 4.1) have 73,433 faces
  for training and 9,180 each for validation and test; here faces are drawn at
  random for these sizes, always the same.

  Raises:
    UserError: the list or the folder of images is missing, a line of the list
      is not one of ExpW, or a face is there twice with two labels.
  """
  table = layout.table(path, (_LIST,))
  if table is None:
    raise layout.not_found(path, f"label/{_LIST}", f"{LAYOUT}; {SOURCE}")
  _, faces = layout.listed(
    table, path, _IMAGES, _read_line, f"{LAYOUT}; {SOURCE}"
  )
  faces = layout.each_once(table, faces)  # Before copies are drawn apart.
  drawn = draw(len(faces), _SHARE, _SHARE)
  for part, rows in zip(("validation", "test"), drawn, strict=True):
    for row in rows:
      faces[row] = dataclasses.replace(faces[row], part=part)
  yield from faces


def _read_line(line: str, images: layout.Names, where: str) -> Face:
  # From the right, for an image whose name holds a blank.
  image, *fields = line.rsplit(maxsplit=7)
  try:
    face, top, left, right, bottom = map(int, fields[:5])
    confidence, code = float(fields[5]), int(fields[6])
  except (ValueError, IndexError) as error:
    raise UserError(
      f"{where}: {line[:200]!r} does not have {_FIELDS}; copy the file from "
      "the release again"
    ) from error
  if not 0 <= code < len(EMOTIONS):
    raise UserError(
      f"{where}: unknown label {code}; ExpW has 0 to 6 for "
      f"{', '.join(EMOTIONS)}"
    )
  return Face(
    path=images.path(image),
    label=canonical(EMOTIONS[code], where),
    part="train",
    name=f"{image} {face}",
    box=(left, top, right, bottom),
    confidence=confidence,
  )
