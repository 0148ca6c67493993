"""Decoding faces: colour, size, boxes, and files that are no faces."""

import numpy as np
import pytest
from PIL import Image

from emojax.corpora import images
from emojax.corpora.records import Face


@pytest.fixture
def pixels():
  return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def _face(path, pixels=None, **fields):
  if pixels is not None:
    Image.fromarray(pixels).save(path)
  return Face(str(path), "happy", "train", "anna", **fields)


def test_colours_as_they_are(tmp_path, pixels):
  face = _face(tmp_path / "a.png", pixels)
  np.testing.assert_array_equal(images.load(face, (20, 30), 3), pixels)


def test_grey_is_the_luma_of_itu_r_601(tmp_path, pixels):
  face = _face(tmp_path / "a.png", pixels)
  grey = images.load(face, (20, 30), 1)
  assert grey.shape == (20, 30, 1)
  expected = pixels @ np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(grey[..., 0], expected, atol=1)


def test_grey_as_colour(tmp_path, pixels):
  face = _face(tmp_path / "a.png", pixels[..., 0])
  loaded = images.load(face, (20, 30), 3)
  for channel in range(3):
    np.testing.assert_array_equal(loaded[..., channel], pixels[..., 0])


def test_shrinking_averages(tmp_path):
  # Stripes of one pixel: without a wider filter they would beat.
  stripes = np.tile(np.array([0, 200], np.uint8), (40, 20))
  loaded = images.load(_face(tmp_path / "a.png", stripes), (10, 10), 1)
  np.testing.assert_allclose(loaded, 100, atol=8)


def test_cameras_say_which_side_is_up(tmp_path, pixels):
  exif = Image.Exif()
  exif[0x0112] = 6  # Turned a quarter to the left.
  path = tmp_path / "a.png"
  Image.fromarray(pixels).save(path, exif=exif)
  turned = np.rot90(pixels, -1)
  np.testing.assert_array_equal(images.load(_face(path), (30, 20), 3), turned)
  # Boxes count the pixels as they are stored.
  boxed = images.load(_face(path, box=(0, 0, 30, 20)), (20, 30), 3)
  np.testing.assert_array_equal(boxed, pixels)


@pytest.mark.parametrize(
  ("box", "rows", "columns"),
  [
    ((5, 2, 25, 12), slice(2, 12), slice(5, 25)),
    ((-5, -2, 25, 12), slice(0, 12), slice(0, 25)),
    ((5, 2, 99, 99), slice(2, 20), slice(5, 30)),
    ((-9, -9, 99, 99), slice(0, 20), slice(0, 30)),
  ],
)
def test_boxes_are_cut_at_the_edge(tmp_path, pixels, box, rows, columns):
  expected = pixels[rows, columns]
  face = _face(tmp_path / "a.png", pixels, box=box)
  loaded = images.load(face, expected.shape[:2], 3)
  np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize(
  "box", [(30, 0, 40, 10), (0, -9, 10, 0), (9, 9, 9, 12), (20, 5, 10, 15)]
)
def test_boxes_outside_the_image(tmp_path, pixels, box):
  face = _face(tmp_path / "a.png", pixels, box=box)
  with pytest.raises(
    images.UnreadableImage, match=r"nothing in the box left .* 30 wide, 20 high"
  ):
    images.load(face, (8, 8), 1)


def test_another_size_than_the_corpus_ships(tmp_path, pixels):
  face = _face(tmp_path / "a.png", pixels, size=(48, 48))
  with pytest.raises(
    images.UnreadableImage, match="20x30 pixels where the corpus has 48x48"
  ):
    images.load(face, (48, 48), 1)


def test_files_that_cannot_be_used(tmp_path, pixels):
  whole = tmp_path / "whole.jpg"
  big = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
  Image.fromarray(big).save(whole)
  content = whole.read_bytes()
  cases = {
    "missing.png": (None, "no such file"),
    "empty.png": (b"", "an empty file"),
    "text.png": (b"no image at all", "not an image"),
    "cut.jpg": (content[: len(content) // 2], "not readable as an image"),
  }
  Image.fromarray(big).save(tmp_path / "a.png")
  damaged = (tmp_path / "a.png").read_bytes()
  cases["cut.png"] = (damaged[:5000], "not readable as an image")
  cases["bits.png"] = (
    damaged[:5000] + b"\0" * 99 + damaged[5099:],
    "not readable as an image",
  )
  for name, (content, why) in cases.items():
    path = tmp_path / name
    if content is not None:
      path.write_bytes(content)
    with pytest.raises(images.UnreadableImage, match=why) as caught:
      images.load(_face(path), (48, 48), 1)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)


def test_sixteen_bits_are_not_guessed_at(tmp_path):
  deep = np.full((8, 8), 40_000, np.uint16)
  face = _face(tmp_path / "a.png", deep)
  with pytest.raises(images.UnreadableImage, match="expected 8 bits"):
    images.load(face, (8, 8), 1)
