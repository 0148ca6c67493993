"""The RAF-DB reader on trees in the form of the release."""

import collections

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
