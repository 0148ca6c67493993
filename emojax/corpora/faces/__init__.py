"""Readers of corpora of faces as they are shipped: one file for each corpus.

A reader is a module here with `read(path) -> Iterator[Face]`. One that takes
its images from the user's disk also states `LAYOUT` (what must be there) and
`SOURCE` (where the corpus comes from), which the errors quote.
"""

import importlib
import os
import pkgutil
import types

from emojax.corpora import shipped
from emojax.corpora.records import Face
from emojax.errors import UserError


def names() -> list[str]:
  """The corpora that can be read."""
  found = (module.name for module in pkgutil.iter_modules(__path__))
  return sorted(name for name in found if hasattr(_module(name), "read"))


def read(name: str, path: str | os.PathLike) -> list[Face]:
  """Reads all annotations of a corpus; no image is decoded.

  Args:
    name: the reader's module, such as 'rafdb'.
    path: the corpus's folder.

  Raises:
    UserError: an unknown corpus; a path that is missing or empty, or that
      holds no face; whatever else the reader finds wrong.
  """
  known = any(module.name == name for module in pkgutil.iter_modules(__path__))
  module = _module(name) if known else None
  if not hasattr(module, "read"):
    raise UserError(
      f"config.data.corpus = {name!r}: no such corpus of faces; there are "
      f"{', '.join(names())}"
    )
  return shipped.read(module, path, "face")


def _module(name: str) -> types.ModuleType:
  return importlib.import_module(f"{__name__}.{name}")
