"""Readers of corpora as they are shipped: one file for each corpus.

A reader is a module with `read(path) -> Iterator[Utterance]`. One that takes
its audio from the user's disk also states `LAYOUT` (what must be there) and
`SOURCE` (where the corpus comes from), which the errors quote.
"""

import importlib
import os
import pkgutil

from emojax.data.records import Utterance
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
  if not hasattr(module, "LAYOUT"):
    return list(module.read(os.fspath(path)))

  path = os.path.expanduser(path)
  expected = f"expected {module.LAYOUT}; {module.SOURCE}"
  if not path:
    raise UserError(f"config.data.path is not set; {expected}")
  if not os.path.exists(path):
    raise UserError(f"{path}: no such file or folder; {expected}")
  if os.path.isdir(path) and not os.listdir(path):
    raise UserError(f"{path}: an empty folder; {expected}")
  utterances = list(module.read(path))
  if not utterances:
    raise UserError(f"{path}: no audio of this corpus found; {expected}")
  return utterances
