"""Faces of people's own in a CSV file."""

import pytest

from emojax.corpora import faces
from emojax.corpora.faces import manifest
from emojax.corpora.records import Face
from emojax.errors import UserError


def write(folder, *lines, header="path,label,part"):
  path = folder / "faces.csv"
  path.write_text("\n".join([header, *lines]), encoding="utf-8")
  return path


def test_rows_are_faces(tmp_path):
  (tmp_path / "a.png").touch()
  path = write(
    tmp_path,
    "a.png,joy,train,,,,",
    "gone/b.jpg,,dev,,,,",
    "a.png,Sadness,TEST,1,-2,30,40",
    "/c.png,sad,,,,,",
    "a.png,joy,training,,,,",
    header="Path,label,part,left,top,right,bottom",
  )
  a = str(tmp_path / "a.png")
  expected = [
    Face(a, "happy", "train", "a.png"),
    Face(str(tmp_path / "gone/b.jpg"), "", "validation", "gone/b.jpg"),
    Face(a, "sad", "test", "a.png 1 -2 30 40", box=(1, -2, 30, 40)),
    Face("/c.png", "sad", "train", "/c.png"),
  ]
  assert manifest.read_any(path) == expected
  assert faces.read("manifest", path) == expected


def test_validation_is_drawn_where_there_is_none(tmp_path, caplog):
  lines = [f"{number}.png,sad,train" for number in range(20)]
  path = write(tmp_path, *lines, "t.png,sad,test")
  found = faces.read("manifest", path)
  parts = [face.part for face in found]
  assert parts == ["train"] * 16 + ["validation"] * 4 + ["test"]
  assert faces.read("manifest", path) == found
  assert "4 of 20 images of train are drawn for it at random" in caplog.text
  # As it is, nothing is drawn.
  assert {face.part for face in manifest.read_any(path)} == {"train", "test"}


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("a.png,sad,train", "no row whose part is test; expected a CSV file"),
    (",sad,test", "line 2: no path"),
    ("a.png,sad,dusk", "line 2: unknown part 'dusk'"),
    ("a.png,glum,test", "line 2: unknown label 'glum'"),
    ("a.png,sad", "line 2: not as many fields as columns"),
  ],
)
def test_wrong_rows(tmp_path, line, message):
  with pytest.raises(UserError, match=message):
    faces.read("manifest", write(tmp_path, line))


def test_wrong_files(tmp_path):
  with pytest.raises(UserError, match="a folder; expected a CSV file"):
    manifest.read_any(tmp_path)
  with pytest.raises(UserError, match="no column label"):
    manifest.read_any(write(tmp_path, "a.png", header="path"))
