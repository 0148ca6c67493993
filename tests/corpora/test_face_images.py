"""Decoding faces: colour, size, boxes, and files that are no faces."""

import os

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


@pytest.mark.parametrize(
  "suffix", ["tif", "jfif", "jpe", "gif", "pgm", "ppm", "tga", "jp2"]
)
def test_types_of_still_images(tmp_path, pixels, suffix):
  path = tmp_path / f"a.{suffix}"
  assert path.suffix in images.SUFFIXES
  colours = pixels if suffix != "pgm" else pixels[..., 0]
  Image.fromarray(colours).save(path)
  with Image.open(path) as file:
    expected = np.asarray(file.convert("RGB"))
  assert np.abs(expected.mean() - colours.mean()) < 3
  loaded = images.load(_face(path), (20, 30), 3)
  np.testing.assert_array_equal(loaded, expected)


def test_what_starts_a_program_is_no_image(tmp_path):
  """Pillow has Ghostscript read EPS, whatever the file is called."""
  assert not {".eps", ".ps", ".wmf", ".pdf", ".mpg"} & images.SUFFIXES
  path = tmp_path / "a.jpg"
  Image.new("L", (20, 20)).save(path, "EPS")
  with pytest.raises(images.UnreadableImage, match="not an image"):
    images.load(_face(path), (20, 20), 1)


def test_what_is_transparent_is_white(tmp_path, pixels):
  rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
  face = _face(tmp_path / "a.png", rgba)
  np.testing.assert_array_equal(images.load(face, (20, 30), 3), pixels)
  rgba[:5, :, 3] = 0
  loaded = images.load(_face(tmp_path / "b.png", rgba), (20, 30), 3)
  assert (loaded[:5] == 255).all()
  np.testing.assert_array_equal(loaded[5:], pixels[5:])
  palette = Image.fromarray(np.eye(20, dtype=np.uint8), "P")
  palette.putpalette([9, 9, 9, 60, 60, 60])
  palette.save(tmp_path / "c.png", transparency=0)
  loaded = images.load(_face(tmp_path / "c.png"), (20, 20), 1)[..., 0]
  np.testing.assert_array_equal(loaded, np.where(np.eye(20), 60, 255))


def test_inks_are_colours(tmp_path):
  Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "a.tif")
  loaded = images.load(_face(tmp_path / "a.tif"), (20, 20), 3)
  np.testing.assert_array_equal(loaded, np.full((20, 20, 3), (255, 0, 0)))


def test_more_files_that_are_no_image(tmp_path, monkeypatch):
  lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
  (tmp_path / "lfs.png").write_bytes(lfs)
  (tmp_path / "page.png").write_bytes(b"<!DOCTYPE html><html>404</html>")
  Image.new("L", (1, 1)).save(tmp_path / "point.png")
  Image.fromarray(np.ones((9, 9), np.float32)).save(tmp_path / "float.tif")
  Image.new("L", (99, 99)).save(tmp_path / "bomb.png")
  os.mkfifo(tmp_path / "pipe.png")
  (tmp_path / "folder.png").mkdir()
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)  # A warning of Pillow's.
  for name, why in {
    "lfs.png": "not an image: a Git LFS pointer",
    "page.png": "not an image: a page of a web site",
    "point.png": "1x1 pixels, too few",
    "float.tif": "expected 8 bits",
    "bomb.png": r"not readable as an image \(Image size \(9801 pixels\)",
    "pipe.png": "not a file",
    "folder.png": "not a file",
    "a\0b.png": "no such file",
  }.items():
    with pytest.raises(images.UnreadableImage, match=why):
      images.load(_face(tmp_path / name), (48, 48), 1)
