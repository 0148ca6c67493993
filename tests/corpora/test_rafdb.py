"""The RAF-DB reader on trees in the form of the release."""

import collections
import pathlib

import pytest

from emojax.corpora import faces
from emojax.errors import UserError


def _corpus(tmp_path, lines):
  (tmp_path / "basic" / "EmoLabel").mkdir(parents=True)
  (tmp_path / "basic" / "Image" / "aligned").mkdir(parents=True)
  path = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
  path.write_text("\n".join(lines) + "\n")
  return tmp_path


def _lines(train, test):
  return [
    f"{part}_{i + 1:0{digits}d}.jpg {i % 7 + 1}"
    for part, digits, count in (("train", 5, train), ("test", 4, test))
    for i in range(count)
  ]


def test_the_sizes_of_the_paper(tmp_path):
  lines = _lines(12_271, 3_068)
  found = faces.read("rafdb", _corpus(tmp_path, lines))
  parts = collections.defaultdict(set)
  for face in found:
    parts[face.part].add(face.name)
  assert {part: len(names) for part, names in parts.items()} == {
    "train": 9_816,
    "validation": 2_455,
    "test": 3_068,
  }
  assert all(name.startswith("test_") for name in parts["test"])
  # The same draw, whoever reads it and whatever the order of the list.
  path = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
  path.write_text("\n".join(reversed(lines)))
  assert faces.read("rafdb", tmp_path / "basic") == found
  # A random fifth of it: of each class about a fifth, and of each half.
  classes = collections.Counter(
    face.label for face in found if face.part == "validation"
  )
  assert all(290 < count < 410 for count in classes.values())
  late = sum(name > "train_06135" for name in parts["validation"])
  assert 1_130 < late < 1_325


def test_labels_and_paths(tmp_path):
  found = faces.read("rafdb", _corpus(tmp_path, _lines(0, 7)))
  assert [face.label for face in found] == [
    *("surprised", "fearful", "disgust", "happy", "sad", "angry", "neutral")
  ]
  aligned = tmp_path / "basic" / "Image" / "aligned"
  assert found[0].path == str(aligned / "test_0001_aligned.jpg")
  assert found[0].size == (100, 100)


def test_a_missing_folder_is_named(tmp_path):
  _corpus(tmp_path, _lines(1, 1))
  (tmp_path / "basic" / "Image" / "aligned").rmdir()
  with pytest.raises(UserError, match=r"no folder Image/aligned.*whdeng"):
    faces.read("rafdb", tmp_path)


@pytest.mark.parametrize(
  ("line", "why"),
  [
    ("train_00002.jpg 8", "line 2: unknown label '8'; RAF-DB has 1 to 7"),
    ("train_00002.jpg happy", "line 2: unknown label 'happy'"),
    ("train_00002.jpg", "line 2: .* is no image and label"),
    ("image_00002.jpg 5", "line 2: .* is no image and label"),
  ],
)
def test_lines_that_are_not_of_rafdb(tmp_path, line, why):
  with pytest.raises(UserError, match=why):
    faces.read("rafdb", _corpus(tmp_path, ["train_00001.jpg 5", line]))


def _kaggle(tmp_path, codes, lists=("train", "test"), flat=False):
  """Kaggle's form: `codes` of each part's images, in folders and in lists."""
  for part, of_part in codes.items():
    rows = ["image,label"]
    for i, code in enumerate(of_part):
      name = f"{part}_{i:05d}_aligned.jpg"
      folder = tmp_path / "archive" / "DATASET" / part / ("" if flat else code)
      folder.mkdir(parents=True, exist_ok=True)
      (folder / name).touch()
      rows.append(f"{name},{code}")
    if part in lists:
      table = tmp_path / "archive" / f"{part}_labels.csv"
      table.write_text("\r\n".join(rows) + "\r\n", encoding="utf-8-sig")
  return tmp_path


@pytest.mark.parametrize(
  ("lists", "flat"),
  [(("train", "test"), False), (("train", "test"), True), ((), False)],
)
def test_as_kaggle_has_it(tmp_path, lists, flat):
  """By folders, lists or both: what the list of the release would give."""
  codes = {
    "train": [str(i % 7 + 1) for i in range(20)],
    "test": list("7654321"),
  }
  found = faces.read("rafdb", _kaggle(tmp_path, codes, lists, flat))
  official = tmp_path / "official"
  lines = [
    f"{part}_{i:05d}.jpg {code}"
    for part, of_part in codes.items()
    for i, code in enumerate(of_part)
  ]
  official.mkdir()
  expected = faces.read("rafdb", _corpus(official, lines))
  assert [(face.name, face.label, face.part) for face in found] == [
    (face.name, face.label, face.part) for face in expected
  ]
  assert sum(face.part == "validation" for face in found) == 4
  assert {face.size for face in found} == {(100, 100)}
  assert all(pathlib.Path(face.path).is_file() for face in found)


def test_folder_and_list_contradict_each_other(tmp_path):
  _kaggle(tmp_path, {"train": ["1", "2"], "test": ["3"]})
  table = tmp_path / "archive" / "train_labels.csv"
  table.write_text(table.read_text("utf-8-sig").replace(",2", ",5"))
  with pytest.raises(UserError, match=r"in folder 2, but .*csv, line 3 has 5"):
    faces.read("rafdb", tmp_path)


def test_an_image_of_the_other_part(tmp_path):
  _kaggle(tmp_path, {"train": ["1"], "test": ["1"]}, lists=())
  folder = tmp_path / "archive" / "DATASET"
  (folder / "train" / "1" / "test_0009_aligned.jpg").touch()
  with pytest.raises(UserError, match="folder for train, but called test"):
    faces.read("rafdb", tmp_path)


def test_listed_images_that_are_missing_are_not_forgotten(tmp_path):
  _kaggle(tmp_path, {"train": ["1"] * 5, "test": ["1"]})
  lost = tmp_path / "archive" / "DATASET" / "train" / "1"
  (lost / "train_00002_aligned.jpg").unlink()
  assert len(faces.read("rafdb", tmp_path)) == 6


def test_lists_in_other_spellings(tmp_path, caplog):
  lines = ["\ufefftrain_00001.jpg\t5\r", "", "test_0001.jpg 3\r"]
  _corpus(tmp_path, lines)
  aligned = tmp_path / "basic" / "Image" / "aligned" / "aligned"
  aligned.mkdir()
  (aligned / "Train_00001_Aligned.JPG").touch()
  (aligned / "test_0002_aligned.jpg").touch()
  for path in (
    tmp_path,
    tmp_path / "basic" / "EmoLabel",
    tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt",
  ):
    test, train = faces.read("rafdb", path)
    assert train.path == str(aligned / "Train_00001_Aligned.JPG")
    assert (train.label, test.label) == ("sad", "disgust")
  assert "1 file that the list does not name was not read" in caplog.text


@pytest.mark.parametrize(
  ("line", "why"),
  [
    ("train_00001.jpg 6", "train_00001 is there twice, as sad and as angry"),
    ("\udcff", "not UTF-8"),
    ("x" * (1 << 20), "line 2: too long"),
  ],
)
def test_lists_that_can_not_be_used(tmp_path, line, why):
  _corpus(tmp_path, [])
  table = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
  text = f"train_00001.jpg 5\n{line}\n"
  table.write_text(text, encoding="utf-8", errors="surrogateescape")
  with pytest.raises(UserError, match=why):
    faces.read("rafdb", tmp_path)


def test_images_that_are_still_packed(tmp_path):
  _corpus(tmp_path, ["train_00001.jpg 5"])
  (tmp_path / "basic" / "Image" / "aligned").rmdir()
  (tmp_path / "basic" / "aligned.zip").touch()
  with pytest.raises(UserError, match=r"aligned; unpack aligned\.zip first"):
    faces.read("rafdb", tmp_path)
