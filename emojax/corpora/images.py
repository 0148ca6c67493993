"""Decoding one face: from a file or a table's text to pixels of one form."""

import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from emojax.corpora.records import Face
from emojax.errors import Unreadable

SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tiff", ".webp"))
_TooLarge = Image.DecompressionBombError
_MODES = {1: "L", 3: "RGB"}
# More than eight bits: there is no telling which value is white.
_DEEP = ("I", "F")


class UnreadableImage(Unreadable):
  """An image that cannot be used."""


def load(face: Face, size: tuple[int, int], channels: int) -> np.ndarray:
  """Decodes a face, cuts it out, and brings it to one size and colour.

  What a box has outside of its image is cut off. Colours become grey as in
  ITU-R 601; sizes change by linear interpolation, with a wider filter where
  the image shrinks.

  Returns:
    uint8 [H, W, C], where (H, W) is `size`; C is 1 for grey, 3 for RGB.

  Raises:
    UnreadableImage: the file is missing, empty or damaged, has not the size
      that the corpus ships, or has nothing within the box.
  """
  try:
    image = _open(face).convert(_MODES[channels])
  except UnidentifiedImageError as error:
    raise UnreadableImage(face.path, "not an image") from error
  # Pillow raises SyntaxError for damaged PNG, ValueError for damaged TIFF.
  except (OSError, SyntaxError, ValueError, _TooLarge) as error:
    why = f"not readable as an image ({error})".replace("\n", " ")
    raise UnreadableImage(face.path, why) from error
  if face.box is not None:
    image = image.crop(_within(face, *image.size))
  if image.size != size[::-1]:
    image = image.resize(size[::-1], Image.Resampling.BILINEAR)
  return np.asarray(image, np.uint8).reshape(*size, channels)


def _open(face: Face) -> Image.Image:
  """Decodes the whole image and checks it against what the corpus ships."""
  if not os.path.isfile(face.path):
    raise UnreadableImage(face.path, "no such file")
  if face.offset is not None:
    return Image.fromarray(_read_text(face))
  if not os.path.getsize(face.path):
    raise UnreadableImage(face.path, "an empty file")
  with Image.open(face.path) as file:
    # Cameras store which side is up. A box counts the pixels as stored.
    image = file.copy() if face.box else ImageOps.exif_transpose(file)
  if image.mode.startswith(_DEEP):
    why = f"pixels of type {image.mode}; expected 8 bits a channel"
    raise UnreadableImage(face.path, why)
  if face.size and face.size != (image.height, image.width):
    found, shipped = f"{image.height}x{image.width}", "{}x{}".format(*face.size)
    why = f"{found} pixels where the corpus has {shipped}"
    raise UnreadableImage(face.path, why)
  return image


def _read_text(face: Face) -> np.ndarray:
  """Reads decimal pixels, uint8 [H, W], up to the end of the field."""
  where = f"{face.path}, image {face.name}"
  with open(face.path, "rb") as file:
    file.seek(face.offset)
    text = file.readline().partition(b",")[0].strip(b'" \r\n')
  try:
    pixels = np.array(text.split(), np.int64)
  except (ValueError, OverflowError) as error:
    raise UnreadableImage(where, f"damaged pixels ({error})") from error
  height, width = face.size
  if len(pixels) != height * width:
    why = f"{len(pixels)} pixels where {height}x{width} are expected"
    raise UnreadableImage(where, why)
  if pixels.min() < 0 or pixels.max() > 255:
    raise UnreadableImage(where, "damaged pixels (not all are in 0 to 255)")
  return pixels.astype(np.uint8).reshape(height, width)


def _within(face: Face, width: int, height: int) -> tuple[int, int, int, int]:
  """The part of the box that is inside the image."""
  left, top, right, bottom = face.box
  inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
  if inside[0] >= inside[2] or inside[1] >= inside[3]:
    why = (
      f"nothing in the box left {left}, top {top}, right {right}, bottom "
      f"{bottom} of face {face.name}; the image is {width} wide, {height} high"
    )
    raise UnreadableImage(face.path, why)
  return inside
