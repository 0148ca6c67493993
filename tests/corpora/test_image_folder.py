"""A user's own folder of images."""

import os

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
    (["valid/happy/a.png"], "no image in a folder train"),
    (["train/happy/a.png", "dev/happy/a.png"], "no image in a folder test"),
    (
      ["train/happy/a.png", "more/happy/a.png"],
      "folder more is no part; .*ren",
    ),
    (["happy/a.png", "sad/a.png"], "happy is no part; .*put folders of labels"),
    (["train/happy/a.heic", "test/x", "dev/x"], "no face of this corpus"),
    (["train/a.png", "test/b.png"], "no face of this corpus"),
  ],
)
def test_folders_that_say_nothing(tmp_path, names, why):
  with pytest.raises(UserError, match=why):
    faces.read("image_folder", _touch(tmp_path, *names))


def test_a_file_instead_of_a_folder(tmp_path):
  _touch(tmp_path, "a.png")
  with pytest.raises(UserError, match=r"a\.png: not a folder"):
    faces.read("image_folder", tmp_path / "a.png")


def test_what_is_not_read_is_said(tmp_path, caplog):
  _touch(
    tmp_path,
    *("train/happy/anna/1.tif", "train/happy/a.jfif", "train/Happy /b.gif"),
    *("train/happy/c.heic", "train/loose.png", "outside.png"),
    *("test/sad/a.pgm", "dev/sad/a.PPM"),
  )
  (tmp_path / "train" / "contempt").mkdir()
  (tmp_path / "train" / "happy" / "gone.png").symlink_to("nowhere")
  os.mkfifo(tmp_path / "train" / "happy" / "pipe.png")
  (tmp_path / "train" / "happy" / "again").symlink_to(tmp_path / "train")
  (tmp_path / "train" / "happy" / "self").symlink_to("self")
  found = faces.read("image_folder", tmp_path)
  assert [(face.name, face.label) for face in found] == [
    ("train/Happy /b.gif", "happy"),
    ("train/happy/a.jfif", "happy"),
    ("train/happy/anna/1.tif", "happy"),
    ("train/happy/gone.png", "happy"),  # Missing, which is said later.
    ("dev/sad/a.PPM", "sad"),
    ("test/sad/a.pgm", "sad"),
  ]
  assert [face.part for face in found[4:]] == ["validation", "test"]
  assert [message.partition(": ")[2] for message in caplog.messages] == [
    "1 file of other types was not read: 1 .heic (train/happy/c.heic)",
    "2 files of another kind (link to nothing, pipe, closed folder) were not "
    "read: 1 .png, 1 no type (train/happy/pipe.png, train/happy/self)",
    "1 file outside of the parts was not read: 1 .png (outside.png)",
    "no image in train/contempt",
    "1 file outside of the folders of labels was not read: 1 .png "
    "(train/loose.png)",
    "label: taken as one, for they differ only in case, blanks or Unicode "
    "form: 'happy' for 'Happy '",
  ]


@pytest.mark.parametrize("path", [".", "../mine", "mine/.."])
def test_relative_paths(tmp_path, monkeypatch, path):
  root = _touch(tmp_path / "mine", "train/sad/a.png", "test/sad/b.png")
  (root / "mine").mkdir()
  monkeypatch.chdir(root)
  found = faces.read("image_folder", path)
  assert [face.name for face in found] == ["train/sad/a.png", "test/sad/b.png"]


def test_a_validation_part_is_drawn(tmp_path, caplog):
  names = [
    f"Training/{label}/{i}.png" for label in ("happy", "sad") for i in range(10)
  ]
  _touch(tmp_path / "archive", *names, "TEST/happy/0.png")
  found = faces.read("image_folder", tmp_path)
  drawn = [face.name for face in found if face.part == "validation"]
  assert len(drawn) == 4 and set(drawn) < set(names)
  assert [face.name for face in found if face.part == "test"] == [
    "TEST/happy/0.png"
  ]
  assert faces.read("image_folder", tmp_path) == found
  assert caplog.messages[0].endswith(
    "no image in a folder validation: 4 of 20 images of train are drawn for it "
    "at random, always the same"
  )


def test_who_has_a_folder_is_in_one_part(tmp_path):
  people = [f"p{number}" for number in range(10)]
  _touch(
    tmp_path,
    *(f"train/{la}/{who}/0.png" for la in ("happy", "sad") for who in people),
    *(f"test/{label}/0.png" for label in ("happy", "sad")),
  )
  found = faces.read("image_folder", tmp_path)
  drawn, kept = (
    {face.name.split("/")[2] for face in found if face.part == part}
    for part in ("validation", "train")
  )
  assert len(drawn) == 2 and len(kept) == 8 and not drawn & kept
