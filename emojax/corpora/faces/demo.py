"""The demo corpus of faces (synthetic): schematic faces of seven emotions.

2,000 people, each with one expression, slight or strong. Rendered once into a
cache, as the PNG files of an `image_folder`. All labels are right and every
image is a face: `noise` adds noise whose truth is known.
"""

import hashlib
import pathlib
from collections.abc import Iterator

from PIL import Image

from emojax.corpora.faces import image_folder
from emojax.corpora.records import Face
from emojax.runtime import files
from emojax.runtime.files import cache_folder
from emojax.runtime.progress import progress
from emojax.synthetic import face_drawing, schematic

LICENCE = "synthetic, made by emojax: Apache 2.0"

_SEED = 0
_COUNTS = {"train": 1400, "validation": 300, "test": 300}


def read(path: str) -> Iterator[Face]:
  """Yields the corpus, after rendering it where it is not there yet.

  Every PNG file (48x48, grey) is either whole or missing.

  Args:
    path: the folder to keep the corpus in; '' is one in the user's cache.

  Raises:
    UserError: the folder cannot be written, or the disk is full.
  """
  folder = cache_folder() / "demo_faces"
  if path:
    folder = pathlib.Path(path).expanduser()
  folder /= _version()
  parts = [part for part, count in _COUNTS.items() for _ in range(count)]
  names = list(schematic.EMOTIONS)
  emotions = [names[i % len(names)] for i in range(len(parts))]
  paths = [
    folder / part / emotion / f"{i:04d}.png"
    for i, (part, emotion) in enumerate(zip(parts, emotions, strict=True))
  ]
  if not all(png.exists() for png in paths):
    _write(paths, emotions)
  yield from image_folder.read(str(folder))


def _write(paths: list[pathlib.Path], emotions: list[str]) -> None:
  # One draw for all of them: a part of it would be of other people.
  images = schematic.render(emotions, _SEED)
  pairs = zip(paths, images, strict=True)
  title = "demo corpus (synthetic)"
  for path, image in progress(pairs, len(paths), title, "face"):
    with files.whole(path) as temporary:
      Image.fromarray(image).save(temporary)


def _version() -> str:
  """Names the corpus after the code that makes it: no edit meets old files."""
  sources = (face_drawing.__file__, schematic.__file__, __file__)
  code = b"".join(pathlib.Path(source).read_bytes() for source in sources)
  return hashlib.sha256(code).hexdigest()[:12]
