"""The ExpW reader on trees in the form of the release."""

import collections

import numpy as np
import pytest
from PIL import Image

from configs import rlps
from emojax.corpora import faces, images
from emojax.data.faces import prepare
from emojax.errors import UserError


def _corpus(tmp_path, lines):
  (tmp_path / "data" / "label").mkdir(parents=True)
  (tmp_path / "data" / "image" / "origin").mkdir(parents=True)
  path = tmp_path / "data" / "label" / "label.lst"
  path.write_text("\n".join(lines) + "\n")
  return tmp_path


def test_the_sizes_of_the_paper(tmp_path):
  lines = [
    f"image_{i // 2}.jpg {i % 2} 10 20 60 80 33.5 {i % 7}"
    for i in range(91_793)
  ]
  found = faces.read("expw", _corpus(tmp_path, lines))
  assert collections.Counter(face.part for face in found) == {
    "train": 73_433,
    "validation": 9_180,
    "test": 9_180,
  }
  assert len({face.name for face in found}) == len(found)


def test_lines(tmp_path):
  lines = [f"a b.jpg {i} 10 20 60 80 33.5 {i}" for i in range(7)]
  found = faces.read("expw", _corpus(tmp_path, lines))
  assert faces.read("expw", tmp_path / "data") == found
  assert [face.label for face in found] == [
    *("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
  ]
  folder = tmp_path / "data" / "image" / "origin"
  assert found[0].path == str(folder / "a b.jpg")
  # The list has top, left, right, bottom.
  assert found[0].box == (20, 10, 60, 80)
  assert found[0].confidence == 33.5


def test_a_face_that_is_listed_twice_counts_once(tmp_path, caplog):
  lines = [f"{i}.jpg 0 10 20 60 80 33.5 3" for i in range(17)]
  lines += lines[:3]
  found = faces.read("expw", _corpus(tmp_path, lines))
  assert [face.name for face in found] == [f"{i}.jpg 0" for i in range(17)]
  assert "label.lst: 3 images are there twice, and count once" in caplog.text
  with (tmp_path / "data" / "label" / "label.lst").open(
    "a", encoding="utf-8"
  ) as file:
    file.write("0.jpg 0 10 20 60 80 33.5 4\n")
  with pytest.raises(UserError, match=r"0\.jpg 0 is there twice, as happy"):
    faces.read("expw", tmp_path)


def test_two_boxes_of_one_number_are_two_faces(tmp_path, caplog):
  lines = [f"{i}.jpg 0 10 20 60 80 33.5 3" for i in range(17)]
  lines += ["3.jpg 0 10 90 130 80 33.5 4", *lines[:2]]
  found = faces.read("expw", _corpus(tmp_path, lines))
  assert len(found) == len({face.name for face in found}) == 18
  of_photo = {(f.box, f.label) for f in found if f.path.endswith("/3.jpg")}
  assert of_photo == {((20, 10, 60, 80), "happy"), ((90, 10, 130, 80), "sad")}
  assert "label.lst: 2 images are there twice, and count once" in caplog.text
  assert "label.lst: 1 faces have the name of another one" in caplog.text


def test_the_box_is_cut_out(tmp_path):
  lines = ["a.png 0 10 20 60 80 33.5 3"]
  (face,) = faces.read("expw", _corpus(tmp_path, lines))
  pixels = np.random.default_rng(0).integers(0, 256, (100, 90, 3), np.uint8)
  Image.fromarray(pixels).save(face.path)
  cut = images.load(face, (70, 40), 3)
  np.testing.assert_array_equal(cut, pixels[10:80, 20:60])


def test_a_box_outside_the_image_is_counted(tmp_path, caplog):
  boxes = ["10 20 60 80", "-5 -5 200 200", "100 20 160 80"]
  lines = [f"a.png {i} {box} 3.5 {i}" for i, box in enumerate(boxes)]
  folder = _corpus(tmp_path, lines) / "data" / "image" / "origin"
  Image.new("RGB", (90, 100)).save(folder / "a.png")
  assert {face.confidence for face in faces.read("expw", tmp_path)} == {3.5}
  data = rlps.get_config("expw").data
  data.path, data.image_size, data.max_skipped = str(tmp_path), (64, 64), 1
  table = prepare(data, tmp_path / "store")
  assert table.name.tolist() == ["a.png 0", "a.png 1"]
  assert "nothing in the box left 20, top 100" in caplog.text
  assert "of face a.png 2" in caplog.text
  data.max_skipped = 0
  with pytest.raises(UserError, match="1 of 3 images can not be used"):
    prepare(data, tmp_path / "store")


@pytest.mark.parametrize(
  ("line", "why"),
  [
    ("a.jpg 0 10 20 60 80 33.5 7", "line 2: unknown label 7; ExpW has 0 to 6"),
    ("a.jpg 0 10 20 60 80 7", "line 2: .* does not have image, face, top"),
    ("a.jpg 0 10 x 60 80 33.5 3", "line 2: .* does not have image"),
  ],
)
def test_lines_that_are_not_of_expw(tmp_path, line, why):
  lines = ["a.jpg 0 10 20 60 80 33.5 0", line]
  with pytest.raises(UserError, match=why):
    faces.read("expw", _corpus(tmp_path, lines))


def test_a_list_that_is_a_pointer_or_packed(tmp_path):
  folder = _corpus(tmp_path, [])
  table = folder / "data" / "label" / "label.lst"
  for content, why in (
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    (b"PK\x03\x04", "a zip archive: unpack it with unzip"),
    (b"a.jpg 0 1 2 3 4 5 3 \xe9", "not UTF-8"),
  ):
    table.write_bytes(content)
    for path in folder, table:
      with pytest.raises(UserError, match=f"label.lst: {why}"):
        faces.read("expw", path)


def test_a_missing_folder_is_named(tmp_path):
  _corpus(tmp_path, ["a.jpg 0 10 20 60 80 33.5 0"])
  (tmp_path / "data" / "image" / "origin").rmdir()
  with pytest.raises(UserError, match=r"no folder image/origin.*cuhk"):
    faces.read("expw", tmp_path)


@pytest.mark.parametrize(
  ("table", "folder"),
  [
    ("label.lst", "origin"),
    ("label/label.lst", "image/origin/origin"),
    ("expw/data/label/label.lst", "expw/data/image/origin"),
    ("lists/Label.lst", "pictures/Origin"),
  ],
)
def test_where_the_list_and_the_images_may_be(tmp_path, table, folder):
  (tmp_path / table).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / table).write_text("\ufeffB.jpg 0 1 2 3 4 5 3\n", "utf-8")
  (tmp_path / folder).mkdir(parents=True)
  (tmp_path / folder / "b.JPG").touch()
  for path in tmp_path, tmp_path / table:
    if path != tmp_path and "pictures" in folder:
      continue  # Nothing says where they are.
    (face,) = faces.read("expw", path)
    assert face.path == str(tmp_path / folder / "b.JPG")
