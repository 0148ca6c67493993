"""Decoding one face: from a file or a table's text to pixels of one form."""

import os
import re
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from emojax.corpora.records import Face
from emojax.errors import Unreadable
from emojax.runtime import files

Image.init()
# Still images of pixels, in Pillow's order. EPS, which starts a program, is not
# among them, whatever a file is called.
_FORMATS = [
  name
  for name in Image.ID
  if name
  in (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG"),
    *("PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM"),
  )
]
SUFFIXES = frozenset(
  suffix
  for suffix, name in Image.registered_extensions().items()
  if name in _FORMATS
)
# Whose files may hold several frames, of one image or of none.
_FRAMES = (".apng", ".avif", ".avifs", ".gif", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 3: "RGB"}
# More than eight bits: there is no telling which value is white.
_DEEP = ("I", "F")
_SMALLEST = 8  # Pixels a side; less can show no face.
_LONGEST_ROW = 1 << 16  # Bytes of a table; 48x48 pixels take up to 9 kB.
# What Pillow raises for files that are damaged, by format; with the warning
# about images of more than 89 million pixels, before they are decoded.
_DAMAGED = (
  *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
  *(RuntimeError, EOFError, MemoryError, struct.error, Warning),
  Image.DecompressionBombError,
)
warnings.simplefilter("error", Image.DecompressionBombWarning)
# Such as of damaged EXIF beside whole pixels; not in pages for a corpus.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class UnreadableImage(Unreadable):
  """An image that cannot be used."""


def load(face: Face, size: tuple[int, int], channels: int) -> np.ndarray:
  """Decodes a face, cuts it out, and brings it to one size and colour.

  What a box has outside of its image is cut off. What is transparent is put on
  white. Colours become grey as in ITU-R 601; sizes change by linear
  interpolation, with a wider filter where the image shrinks. Of several frames
  the first is taken, see `has_more_frames`.

  Returns:
    uint8 [H, W, C], where (H, W) is `size`; C is 1 for grey, 3 for RGB.

  Raises:
    UnreadableImage: see `decode`; or there is nothing within the box.
  """
  return cut(decode(face, channels), face, size, channels)


def decode(face: Face, channels: int) -> Image.Image:
  """The whole image of a face, 8 bits a channel, as `load` takes it.

  Raises:
    UnreadableImage: the file is missing, empty, damaged or too large, has not
      the size that the corpus ships, no 8 bits a channel, or too few pixels for
      a face.
  """
  try:
    return _flat(_open(face)).convert(_MODES[channels])
  except UnidentifiedImageError as error:
    instead = files.instead(face.path)
    why = "not an image" + (f": {instead}" if instead else "")
    raise UnreadableImage(face.path, why) from error
  except _DAMAGED as error:
    why = f"not readable as an image ({error or type(error).__name__})"
    raise UnreadableImage(face.path, " ".join(why.split())) from error


def cut(
  image: Image.Image, face: Face, size: tuple[int, int], channels: int
) -> np.ndarray:
  """What `load` gives, of a whole image that is decoded already."""
  if face.box is not None:
    image = image.crop(_within(face, *image.size))
  image = image.convert(_MODES[channels])
  if image.size != size[::-1]:
    image = image.resize(size[::-1], Image.Resampling.BILINEAR)
  return np.asarray(image, np.uint8).reshape(*size, channels)


def has_more_frames(face: Face) -> bool:
  """Whether the file of an image that `load` has read holds others, too."""
  if not face.path.lower().endswith(_FRAMES):
    return False
  try:
    with Image.open(face.path, formats=_FORMATS) as file:
      return getattr(file, "is_animated", False)
  except _DAMAGED:
    return True  # Those after the first.


def _open(face: Face) -> Image.Image:
  """Decodes the whole image and checks it against what the corpus ships."""
  if not os.path.isfile(face.path):
    there = os.path.lexists(face.path)
    raise UnreadableImage(face.path, "not a file" if there else "no such file")
  if face.offset is not None:
    return Image.fromarray(_read_text(face))
  if not os.path.getsize(face.path):
    raise UnreadableImage(face.path, "an empty file")
  with Image.open(face.path, formats=_FORMATS) as file:
    # Cameras store which side is up. A box counts the pixels as stored.
    image = file.copy() if face.box else ImageOps.exif_transpose(file)
  if image.mode.startswith(_DEEP):
    why = f"pixels of type {image.mode}; expected 8 bits a channel"
    raise UnreadableImage(face.path, why)
  if min(image.size) < _SMALLEST:
    why = f"{image.height}x{image.width} pixels, too few for a face"
    raise UnreadableImage(face.path, why)
  if face.size and face.size != (image.height, image.width):
    found, shipped = f"{image.height}x{image.width}", "{}x{}".format(*face.size)
    why = (
      f"{found} pixels where the corpus has {shipped}; "
      "config.data.corpus=image_folder takes any"
    )
    raise UnreadableImage(face.path, why)
  return image


def _flat(image: Image.Image) -> Image.Image:
  """Puts what is transparent on white; other images stay as they are."""
  if not image.has_transparency_data:
    return image
  image = image.convert("RGBA")
  return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _read_text(face: Face) -> np.ndarray:
  """Reads decimal pixels, uint8 [H, W], up to the end of the field."""
  where = f"{face.path}, image {face.name}"
  with open(face.path, "rb") as file:
    file.seek(face.offset)
    text = file.readline(_LONGEST_ROW).lstrip(b'" ')
  text = re.split(rb'[",;\t\r\n]', text, maxsplit=1)[0]
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
