"""RAF-DB, single-label subset: 15,339 aligned faces, 100x100 in colour.

Li, Deng & Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning
for Expression Recognition in the Wild", CVPR 2017. The release has a training
and a test part.
"""

import pathlib
import re
from collections.abc import Iterator

from emojax import spelling
from emojax.corpora import delimited, layout
from emojax.corpora.labels import canonical
from emojax.corpora.records import Face
from emojax.errors import UserError
from emojax.runtime import walk

# Their word for a partition; some correct it.
_LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_IMAGES = ("Image/aligned", "aligned")
_OF_KAGGLE = {"train": "train_labels.csv", "test": "test_labels.csv"}
_COLUMNS = delimited.Columns(
  ("image", "label"), expected="expected image and label"
)
LAYOUT = (
  "basic/EmoLabel/list_patition_label.txt and "
  "basic/Image/aligned/train_00001_aligned.jpg and so on, or Kaggle's "
  "DATASET/train/1/train_00001_aligned.jpg in train and test"
)
SOURCE = (
  "RAF-DB comes by form: http://www.whdeng.cn/RAF/model1.html; unpack "
  "aligned.zip there"
)
LICENCE = "for research that is not commercial, not to be passed on"

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
_LINE = re.compile(r"(train|test)_(\d+)(?:_aligned)?\.jpg[\s,;]+(\S+)")
_FILE = re.compile(r"((train|test)_\d+)(?:_aligned)?")
_SIZE = (100, 100)


def read(path: str) -> Iterator[Face]:
  """Yields the faces in `path`, the folder `basic` or another near it, by name.

  In Kaggle's form the label is the image's folder, or what `train_labels.csv`
  and `test_labels.csv` say.

  Li & Xu (2020, section 4.1) take a fifth of the training images, 2,455 of
  12,271, for validation. They do not say which; here it is a random draw,
  always the same.

  Raises:
    UserError: the list or the folder of aligned images is missing, a line of
      the list is not one of RAF-DB, or folder and list contradict each other.
  """
  table = layout.table(path, _LISTS)
  if table is not None:
    faces = _read_list(table, path)
  elif root := layout.find_parts(path):
    faces = _read_kaggle(root, path)
  else:
    raise layout.not_found(path, f"EmoLabel/{_LISTS[0]}", f"{LAYOUT}; {SOURCE}")
  faces.sort(key=lambda face: face.name)
  if not any(face.part == "validation" for face in faces):
    faces = layout.draw_validation(faces)
  yield from faces


def _read_list(table: pathlib.Path, path: str) -> list[Face]:
  folder, faces = layout.listed(
    table, path, _IMAGES, _read_line, f"{LAYOUT}; {SOURCE}"
  )
  layout.warn_unlisted(folder, faces)
  return layout.each_once(table, faces)


def _read_line(line: str, images: layout.Names, where: str) -> Face:
  match = _LINE.fullmatch(line)
  if not match:
    raise UserError(
      f"{where}: {line[:80]!r} is no image and label, such as "
      "'train_00001.jpg 5'; copy the file from the release again"
    )
  part, number, code = match.groups()
  name = f"{part}_{number}"
  return Face(
    path=images.path(f"{name}_aligned.jpg"),
    label=_label(code, where),
    part=part,
    name=name,
    size=_SIZE,
  )


def _label(code: str, where: str) -> str:
  """The common label of RAF-DB's code."""
  if code not in _EMOTIONS:
    raise UserError(
      f"{where}: unknown label {code!r}; RAF-DB has 1 to 7 for "
      f"{', '.join(_EMOTIONS.values())}"
    )
  return canonical(_EMOTIONS[code], where)


def _folder_label(name: str, image: pathlib.Path) -> str:
  """The label of a folder that is named after a code or, by some, a label."""
  where = f"{image}, folder {name}"
  return _label(name, where) if name.isdecimal() else canonical(name, where)


def _read_kaggle(root: pathlib.Path, path: str) -> list[Face]:
  listed = _listed(path)
  faces, unnamed = [], []
  for one in layout.placed(root, LAYOUT):
    part, label, image = one.part, one.label, one.path
    code, where = listed.pop((part, spelling.key(image.name)), ("", ""))
    label = label or code
    if not label:
      unnamed.append(image)
      continue
    if code and _folder_label(label, image) != _label(code, where):
      raise UserError(
        f"{image}: in folder {label}, but {where} has {code}; correct one of "
        "the two"
      )
    faces.append(_placed(root, image, part, label))
  walk.warn_unread(root, unnamed, "that neither a folder nor a list labels")
  for (part, name), (code, _) in listed.items():  # Missing, which is counted.
    faces.append(_placed(root, root / part / code / name, part, code))
  return layout.each_once(root, faces)


def _listed(path: str) -> dict[tuple[str, str], tuple[str, str]]:
  """Codes of labels, and where they are said, by part and name of the image."""
  found = {}
  for part, name in _OF_KAGGLE.items():
    table = layout.table(path, (name,))
    for where, values in delimited.read(table, _COLUMNS) if table else ():
      code = str(delimited.whole(values["label"], where, "label"))
      image = pathlib.PurePosixPath(values["image"].replace("\\", "/")).name
      known = found.setdefault((part, spelling.key(image)), (code, where))
      if known[0] != code:
        raise UserError(
          f"{where}: {image} has label {code}, but {known[0]} in {known[1]}; "
          "remove one of the two"
        )
  return found


def _placed(
  root: pathlib.Path, image: pathlib.Path, part: str, label: str
) -> Face:
  match = _FILE.fullmatch(image.stem)
  if match and (match[2] == "train") == (part == "test"):
    raise UserError(
      f"{image}: in a folder for {part}, but called {match[2]}; move or remove "
      "it"
    )
  return Face(
    path=str(image),
    label=_folder_label(label, image),
    part=part,
    name=match[1] if match else image.relative_to(root).as_posix(),
    size=_SIZE,
  )
