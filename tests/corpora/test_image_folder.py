"""A user's own folder of images."""

import pytest

from emojax.corpora import faces
from emojax.errors import UserError


def _touch(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  return root


def test_folders_say_everything(tmp_path):
  _touch(
    tmp_path,
    "test/Sadness/b.jpg",
    "train/happy/b.PNG",
    "train/happy/a.png",
    "train/happy/._a.png",
    "train/happy/notes.txt",
    "train/.hidden/a.png",
    "validation/neutral/a.jpeg",
    "README.md",
  )
  found = faces.read("image_folder", tmp_path)
  assert [(face.name, face.label, face.part) for face in found] == [
    ("train/happy/a.png", "happy", "train"),
    ("train/happy/b.PNG", "happy", "train"),
    ("validation/neutral/a.jpeg", "neutral", "validation"),
    ("test/Sadness/b.jpg", "sad", "test"),
  ]
  assert found[0].path == str(tmp_path / "train" / "happy" / "a.png")


@pytest.mark.parametrize(
  ("names", "why"),
  [
    (["train/hapy/a.png"], "train/hapy: unknown label 'hapy'; did you mean"),
    (["valid/happy/a.png"], "folder valid is no part; .*rename"),
    (["train/happy/a.png", "test/happy/a.png"], "no folder validation"),
    (["train/happy/a.gif", "test/x", "validation/x"], "no face of this corpus"),
  ],
)
def test_folders_that_say_nothing(tmp_path, names, why):
  with pytest.raises(UserError, match=why):
    faces.read("image_folder", _touch(tmp_path, *names))


def test_a_file_instead_of_a_folder(tmp_path):
  _touch(tmp_path, "a.png")
  with pytest.raises(UserError, match=r"a\.png: not a folder"):
    faces.read("image_folder", tmp_path / "a.png")
