"""RAF-DB, single-label subset: 15,339 aligned faces, 100x100 in colour.

Li, Deng & Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning
for Expression Recognition in the Wild", CVPR 2017. The release has a training
and a test part.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator

from emojax.corpora import shipped
from emojax.corpora.labels import canonical
from emojax.corpora.records import Face, draw
from emojax.errors import UserError

_LIST = pathlib.PurePath("EmoLabel", "list_patition_label.txt")  # Their word.
_IMAGES = pathlib.PurePath("Image", "aligned")
LAYOUT = f"basic/{_LIST} and basic/{_IMAGES}/train_00001_aligned.jpg and so on"
SOURCE = "RAF-DB comes by form: http://www.whdeng.cn/RAF/model1.html"

_NAMES = [
  "surprise",
  "fear",
  "disgust",
  "happiness",
  "sadness",
  "anger",
  "neutral",
]
_EMOTIONS = {str(code): name for code, name in enumerate(_NAMES, start=1)}
_LINE = re.compile(r"(train|test)_(\d+)\.jpg\s+(\S+)")
_SIZE = (100, 100)
_VALIDATION = 0.2


def read(path: str) -> Iterator[Face]:
  """Yields the faces in `path`, the folder `basic` or the one above, by name.

  Li & Xu (2020, section 4.1) take a fifth of the training images, 2,455 of
  12,271, for validation. They do not say which; here it is a random draw,
  always the same.

  Raises:
    UserError: the list or the folder of aligned images is missing, or a line
      of the list is not one of RAF-DB.
  """
  root = pathlib.Path(path)
  root = shipped.find_root(
    *(root, (root, root / "basic"), _LIST, [_IMAGES]),
    f"expected {LAYOUT}; {SOURCE}; unpack aligned.zip there",
  )
  table, folder = root / _LIST, str(root / _IMAGES)
  faces = [
    _read_line(line, folder, f"{table}, line {number}")
    for number, line in enumerate(
      table.read_text(encoding="utf-8").splitlines(), 1
    )
    if line.strip()
  ]
  faces.sort(key=lambda face: face.name)
  train = [row for row, face in enumerate(faces) if face.part == "train"]
  (drawn,) = draw(len(train), _VALIDATION)
  for index in drawn:
    row = train[index]
    faces[row] = dataclasses.replace(faces[row], part="validation")
  yield from faces


def _read_line(line: str, folder: str, where: str) -> Face:
  match = _LINE.fullmatch(line.strip())
  if not match:
    raise UserError(
      f"{where}: {line.strip()!r} is no image and label, such as "
      "'train_00001.jpg 5'; copy the file from the release again"
    )
  part, number, code = match.groups()
  if code not in _EMOTIONS:
    raise UserError(
      f"{where}: unknown label {code!r}; RAF-DB has 1 to 7 for "
      f"{', '.join(_EMOTIONS.values())}"
    )
  name = f"{part}_{number}"
  return Face(
    path=os.path.join(folder, f"{name}_aligned.jpg"),
    label=canonical(_EMOTIONS[code], where),
    part=part,
    name=name,
    size=_SIZE,
  )
