"""The emotion of faces in images, by a trained system of faces.

As the study evaluates: an image is decoded, cut and brought to the size and the
colours of training; probabilities are softmax(logits / temperature).

U faces, K emotions.
"""

import functools
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from emojax import calibration
from emojax.corpora import images, recordings
from emojax.corpora.images import UnreadableImage
from emojax.corpora.records import Face
from emojax.errors import UserError
from emojax.inference import batched, detection, sources
from emojax.inference.results import Predictions
from emojax.runtime import memory, walk
from emojax.runtime.progress import progress
from emojax.systems.faces import FaceSystem

_LOG = logging.getLogger(__name__)

_AHEAD = min(3, os.cpu_count() or 1)  # Images, of up to 89 million pixels.
_ROWS = 64  # Images of a batch,
_PIXELS = 1 << 20  # or fewer, where they are large: it bounds the memory.
_VIEWS = 10  # Of each image, where there is a crop.


class Crop(NamedTuple):
  """A face as the system takes it."""

  names: dict[str, str]  # What says which it is, by column.
  pixels: np.ndarray  # uint8 [H, W, C].


def predict(
  system: FaceSystem,
  variables: Any,
  paths: Sequence[str],
  detect: bool = False,
) -> Predictions:
  """Classifies images of one face each, or with `detect` all faces in them.

  In the order of `paths`, a folder's images by name, the faces of an image from
  left to right. What can not be used is named in a warning and skipped.

  Raises:
    UserError: no image can be used, or has a face; the detector is not
      installed; the device has too little memory.
  """
  read = functools.partial(_read, system)
  if detect:
    read = functools.partial(_detect, system, detection.load())
  found = sources.find(paths, _search).paths
  names: dict[str, list[str]] = {}
  skipped: list[UnreadableImage] = []

  def crops() -> Iterator[np.ndarray]:
    """The pixels of all faces; their names and what is skipped are kept."""
    shown = progress(read(found), len(found), "predict", "image")
    for one in shown:
      if isinstance(one, UnreadableImage):
        _LOG.warning("skipped %s", one)
        skipped.append(one)
        continue
      for crop in one:
        for name, value in crop.names.items():
          names.setdefault(name, []).append(value)
        yield crop.pixels

  forward = functools.partial(system.forward, jax.device_put(variables))
  with memory.explained(
    "the load that other programs put on it, or set JAX_PLATFORMS=cpu"
  ):
    logits = list(batched.outputs(forward, crops(), _rows(system)))
  if not logits:
    raise UserError(
      f"none of {len(found)} images can be used; the first: {skipped[0]}"
    )
  logits_UxK = np.stack(logits)
  if not np.isfinite(logits_UxK).all():
    raise UserError("the system is damaged (it gives NaN); train it again")
  return Predictions(
    system.classes,
    names,
    calibration.probabilities(logits_UxK, system.temperature),
    {},
    skipped,
  )


def _rows(system: FaceSystem) -> int:
  """How many images a batch may have, a power of two."""
  height, width = system.image_size
  pixels = _VIEWS * system.crop**2 if system.crop else height * width
  return min(_ROWS, 1 << max(0, (_PIXELS // pixels).bit_length() - 1))


def _search(folder: str) -> tuple[list[str], list[str]]:
  """The images below a folder; none has to be converted first."""
  found = walk.find(folder, images.SUFFIXES)
  walk.warn_unread(folder, found.others)
  names = [os.path.join(folder, p.relative_to(folder)) for p in found.paths]
  return names, []


def _read(
  system: FaceSystem, paths: Sequence[str]
) -> Iterator[list[Crop] | UnreadableImage]:
  """Of each image the one face that it is, or why it can not be used."""

  def read(path: str) -> list[Crop] | UnreadableImage:
    if os.path.isdir(path):
      return UnreadableImage(path, "a folder without images")
    try:
      pixels = images.load(_face(path), system.image_size, system.channels)
    except UnreadableImage as error:
      return error
    return [Crop({"path": path}, pixels)]

  # Pillow decodes outside the interpreter's lock: threads suffice.
  return recordings.ahead(read, paths, _AHEAD)


def _detect(
  system: FaceSystem, detector: detection.Detector, paths: Sequence[str]
) -> Iterator[list[Crop] | UnreadableImage]:
  """All faces of each image, or why there is none."""

  def decode(path: str):
    if os.path.isdir(path):
      return UnreadableImage(path, "a folder without images")
    try:
      return images.decode(_face(path), 3)
    except UnreadableImage as error:
      return error

  for path, image in zip(
    paths, recordings.ahead(decode, paths, _AHEAD), strict=True
  ):
    if isinstance(image, UnreadableImage):
      yield image
      continue
    boxes = detector.find(image)
    if not boxes:
      yield UnreadableImage(path, "no face found in it")
      continue
    yield [
      Crop(
        {"path": path, "face": str(number), **_named(box)},
        images.cut(image, _face(path, box), system.image_size, system.channels),
      )
      for number, box in enumerate(boxes, start=1)
    ]


def _face(path: str, box: detection.Box | None = None) -> Face:
  return Face(path, "", "test", path, box=box)


def _named(box: detection.Box) -> dict[str, str]:
  names = ("left", "top", "right", "bottom")
  return dict(zip(names, map(str, box), strict=True))
