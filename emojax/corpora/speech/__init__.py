"""Readers of corpora as they are shipped: one file for each corpus.

A reader is a module with `read(path) -> Iterator[Utterance]`. One that takes
its audio from the user's disk also states `LAYOUT` (what must be there) and
`SOURCE` (where the corpus comes from), which the errors quote.
"""

import importlib
import os
import pkgutil

from emojax.corpora import shipped
from emojax.corpora.records import Utterance
from emojax.errors import UserError


def names() -> list[str]:
  """The corpora that can be read."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def read(name: str, path: str | os.PathLike) -> list[Utterance]:
  """Reads all utterances of a corpus; no audio is decoded.

  Args:
    name: the reader's module, such as 'ravdess'.
    path: the corpus's folder, or the file of a manifest.

  Raises:
    UserError: an unknown corpus; a path that is missing or empty, or that
      holds no audio; whatever else the reader finds wrong.
  """
  if name not in names():
    raise UserError(
      f"config.data.corpus = {name!r}: no such corpus; there are "
      f"{', '.join(names())}"
    )
  module = importlib.import_module(f"{__name__}.{name}")
  return shipped.read(module, path, "audio")
