"""The FER2013 reader on tables in the form of the release."""

import collections
import gzip
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from configs import rlps
from emojax.corpora import faces, images
from emojax.data.faces import prepare
from emojax.errors import UserError

SIZES = {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}


def _write(path, rows, header="emotion,pixels,Usage", end="\n"):
  path.write_bytes((end.join([header, *rows]) + end).encode())
  return path


def _text(image):
  return " ".join(map(str, image.ravel().tolist()))


def test_the_official_sizes(tmp_path):
  rows = [
    f"{i % 7},0 0,{usage}" for usage, n in SIZES.items() for i in range(n)
  ]
  found = faces.read("fer2013", _write(tmp_path / "fer2013.csv", rows))
  assert collections.Counter(face.part for face in found) == {
    "train": 28_709,
    "validation": 3_589,
    "test": 3_589,
  }
  assert len({face.name for face in found}) == len(found)


def test_labels(tmp_path):
  rows = [f"{code},0 0,Training" for code in range(7)]
  found = faces.read("fer2013", _write(tmp_path / "fer2013.csv", rows))
  assert [face.label for face in found] == [
    *("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
  ]
  assert [face.name for face in found[:2]] == ["fer0000000", "fer0000001"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
  ("header", "form"),
  [
    ("emotion,pixels,Usage", "{0},{1},{2}"),
    ("emotion, Usage, pixels", "{0},{2},{1}"),
    ('"emotion","pixels","Usage"', '"{0}","{1}","{2}"'),
    ("\ufeffpixels,emotion,Usage", "{1},{0},{2}"),
  ],
)
def test_pixels_are_where_the_table_says(tmp_path, header, form, end):
  rng = np.random.default_rng(0)
  expected = rng.integers(0, 256, (3, 48, 48), np.uint8)
  rows = [
    form.format(i, _text(image), usage)
    for i, (image, usage) in enumerate(zip(expected, SIZES, strict=True))
  ]
  folder = tmp_path / "fer2013"
  folder.mkdir()
  _write(folder / "fer2013.csv", rows, header, end)
  found = faces.read("fer2013", tmp_path)
  assert [face.part for face in found] == ["train", "validation", "test"]
  for face, image in zip(found, expected, strict=True):
    np.testing.assert_array_equal(images.load(face, (48, 48), 1)[..., 0], image)


@pytest.mark.parametrize(
  ("pixels", "why"),
  [
    ("1 2 3", "3 pixels where 48x48"),
    ("", "0 pixels where 48x48"),
    ("7 " * 2303 + "x", "damaged pixels"),
    ("7 " * 2303 + "256", "damaged pixels .not all are in 0 to 255"),
    ("7 " * 2303 + "-1", "damaged pixels"),
    ("7 " * 2303 + "99999999999999999999", "damaged pixels"),
    ("7 " * 2305, "2305 pixels"),
  ],
)
def test_damaged_pixels_are_named(tmp_path, pixels, why):
  table = _write(tmp_path / "fer2013.csv", [f"0,{pixels},Training"])
  (face,) = faces.read("fer2013", table)
  with pytest.raises(images.UnreadableImage, match=why) as caught:
    images.load(face, (48, 48), 1)
  assert str(caught.value).startswith(f"{table}, image fer0000000: ")


def test_a_damaged_row_is_counted(tmp_path, caplog):
  whole = _text(np.full((48, 48), 9))
  rows = [f"0,{whole},Training", "0,1 2,Training", f"3,{whole},PublicTest"]
  _write(tmp_path / "fer2013.csv", rows)
  data = rlps.get_config("fer2013").data
  data.path, data.max_skipped = str(tmp_path), 1
  table = prepare(data, tmp_path / "store")
  assert table.name.tolist() == ["fer0000000", "fer0000002"]
  assert "image fer0000001: 2 pixels" in caplog.text


@pytest.mark.parametrize(
  ("row", "why"),
  [
    ("7,0 0,Training", "line 3: unknown label '7'; FER2013 has 0 to 6"),
    ("happy,0 0,Training", "line 3: unknown label 'happy'"),
    ("0,0 0,Validation", "line 3: unknown Usage 'Validation'.*PublicTest"),
    ("0,0 0", "line 3: 2 fields where .* 3 columns"),
  ],
)
def test_lines_that_are_not_of_fer2013(tmp_path, row, why):
  table = _write(tmp_path / "fer2013.csv", ["0,0 0,Training", row])
  with pytest.raises(UserError, match=why) as caught:
    faces.read("fer2013", table)
  assert "\n" not in str(caught.value)


def test_a_table_in_utf_16(tmp_path):
  table = tmp_path / "fer2013.csv"
  table.write_text("emotion,pixels,Usage\n0,0 0,Training\n", "utf-16")
  with pytest.raises(UserError, match="it is not UTF-8: save it as such"):
    faces.read("fer2013", table)


def test_a_column_that_is_there_twice(tmp_path):
  header = "emotion,pixels,Usage,usage"
  table = _write(tmp_path / "fer2013.csv", ["0,0,Training,x"], header)
  with pytest.raises(UserError, match="line 1: several columns Usage; rename"):
    faces.read("fer2013", table)


def test_a_table_of_something_else(tmp_path):
  table = _write(tmp_path / "test.csv", ["0 0"], header="pixels")
  with pytest.raises(UserError, match=r"no column emotion, Usage.*kaggle"):
    faces.read("fer2013", table)


def test_the_table_of_kaggle(tmp_path, caplog):
  """In its folder, beside the contest's other tables."""
  image = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
  rows = [f"3.0,training,{_text(image)}", "", f"4, PrivateTest ,{_text(image)}"]
  _write(tmp_path / "icml_face_data.csv", rows, "Emotion, Usage, pixels")
  _write(tmp_path / "train.csv", ["0,0 0"], "emotion,pixels")
  _write(tmp_path / "test.csv", ["0 0"], "pixels")
  found = faces.read("fer2013", tmp_path)
  assert [(face.name, face.label, face.part) for face in found] == [
    ("fer0000000", "happy", "train"),
    ("fer0000001", "sad", "test"),
  ]
  for face in found:
    np.testing.assert_array_equal(images.load(face, (48, 48), 1)[..., 0], image)
  assert not caplog.messages


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_spreadsheets(tmp_path, delimiter, caplog):
  image = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
  rows = [f"0,5,{_text(image)},Training,anna", f"1,6,{_text(image)},Training,,"]
  table = _write(
    tmp_path / "fer2013.csv",
    [row.replace(",", delimiter) for row in rows],
    ",emotion,pixels,Usage,who".replace(",", delimiter),
  )
  first, second = faces.read("fer2013", table)
  assert (first.label, second.label) == ("surprised", "neutral")
  np.testing.assert_array_equal(images.load(first, (48, 48), 1)[..., 0], image)
  assert caplog.messages == [f"{table}: columns not used: who"]


@pytest.mark.parametrize(
  ("pack", "mode", "why"),
  [
    (tarfile.open, "w", "csv: a tar archive: unpack it with tar -xf"),
    (tarfile.open, "w:gz", "a tar archive packed by gzip: .* tar -xzf"),
    (zipfile.ZipFile, "w", "a zip archive: unpack it with unzip"),
    (gzip.open, "wb", "packed by gzip: unpack it with gunzip"),
  ],
)
def test_an_archive_that_is_called_a_table(tmp_path, pack, mode, why):
  packed = tmp_path / "fer2013.csv"
  with pack(packed, mode) as archive:
    if hasattr(archive, "add"):
      archive.add(__file__, "fer2013/fer2013.csv")
    elif hasattr(archive, "writestr"):
      archive.writestr("fer2013.csv", "emotion")
  for path in tmp_path, packed:
    with pytest.raises(UserError, match=why):
      faces.read("fer2013", path)
  # Unpacked beside it.
  (tmp_path / "fer2013").mkdir()
  _write(tmp_path / "fer2013" / "fer2013.csv", ["0,0 0,Training"])
  assert len(faces.read("fer2013", tmp_path)) == 1


def test_the_tables_of_the_contest_alone(tmp_path):
  _write(tmp_path / "train.csv", ["0,0 0"], "emotion,pixels")
  _write(tmp_path / "test.csv", ["0 0"], "pixels")
  for path in tmp_path, tmp_path / "train.csv":
    with pytest.raises(
      UserError, match=r"no Usage, .* take icml_face_data\.csv"
    ):
      faces.read("fer2013", path)


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_table_of_an_endless_line(tmp_path, end):
  rows = ["0,0 0,Training", "0," + "7 " * 50_000]
  table = _write(tmp_path / "fer2013.csv", rows, end=end)
  with pytest.raises(UserError, match="longer than 65536 bytes"):
    faces.read("fer2013", table)


def _folders(tmp_path, *names):
  for name in names:
    path = tmp_path / "archive" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(path)
  return tmp_path


def test_folders_whose_images_say_their_usage(tmp_path, caplog):
  """Kaggle's `test` holds both tests: the names give the official parts."""
  _folders(
    tmp_path,
    *("train/angry/Training_1.jpg", "train/fear/Training_2.jpg"),
    *("test/angry/PublicTest_3.jpg", "test/surprise/PrivateTest_4.jpg"),
  )
  found = faces.read("fer2013", tmp_path)
  assert [(face.label, face.part, face.size) for face in found] == [
    ("angry", "train", (48, 48)),
    ("fearful", "train", (48, 48)),
    ("angry", "validation", (48, 48)),
    ("surprised", "test", (48, 48)),
  ]
  assert not caplog.messages
  _folders(tmp_path, "train/sad/PublicTest_9.jpg")
  with pytest.raises(UserError, match="a folder for train, but called PublicT"):
    faces.read("fer2013", tmp_path)


def test_folders_whose_images_have_numbers(tmp_path, caplog):
  names = [f"train/sad/{i}.jpg" for i in range(10)]
  found = faces.read("fer2013", _folders(tmp_path, *names, "test/sad/1.jpg"))
  parts = collections.Counter(face.part for face in found)
  assert parts == {"train": 8, "validation": 2, "test": 1}
  assert "2 of 10 images of train are drawn for it" in caplog.text
