"""What the readers of all corpora share: a registry, and the user's path."""

import importlib
import os
import pkgutil
from typing import Any, Protocol

from emojax.errors import UserError


class Reader(Protocol):
  """A module with this function, or anything else that has it.

  One that takes files from the user's disk also states `LAYOUT` (what must be
  there) and `SOURCE` (where the corpus comes from), which the errors quote.
  """

  def read(self, path: str) -> Any:
    """Gives a record for each recording or face of the corpus."""


class Readers:
  """The corpora of one kind, by name: a module each, or registered."""

  def __init__(self, package: str, kind: str, what: str):
    """Finds nothing yet: a module is imported when its corpus is read.

    Args:
      package: with a module for each corpus.
      kind: what a corpus is called in errors, such as 'corpus of faces'.
      what: it holds, likewise, such as 'face'.
    """
    self._package = package
    self._kind = kind
    self._what = what
    self._registered: dict[str, Reader] = {}

  def register(self, name: str, reader: Reader) -> None:
    """Adds a corpus at run time, for `config.data.corpus`.

    Args:
      name: that no other corpus has.
      reader: see `Reader`.
    """
    if name in self.names():
      raise ValueError(f"there is a {self._kind} called {name!r}")
    self._registered[name] = reader

  def names(self) -> list[str]:
    """The corpora that can be read."""
    path = importlib.import_module(self._package).__path__
    modules = (module.name for module in pkgutil.iter_modules(path))
    return sorted([*modules, *self._registered])

  def read(self, name: str, path: str | os.PathLike) -> list:
    """Reads all annotations of a corpus; no audio and no image is decoded.

    Args:
      name: one of `names`.
      path: the corpus's folder or file.

    Raises:
      UserError: an unknown corpus; a path that is missing or empty, or that
        holds nothing of this corpus; whatever else the reader finds wrong.
    """
    if name not in self.names():
      raise UserError(
        f"config.data.corpus = {name!r}: no such {self._kind}; there are "
        f"{', '.join(self.names())}"
      )
    reader = self._registered.get(name)
    if reader is None:
      reader = importlib.import_module(f"{self._package}.{name}")
    return _read(reader, path, self._what)


def _read(reader: Reader, path: str | os.PathLike, what: str) -> list:
  """As `Readers.read`, with a reader at hand."""
  if not hasattr(reader, "LAYOUT"):
    return list(reader.read(os.fspath(path)))
  path = os.path.expanduser(path)
  expected = f"expected {reader.LAYOUT}; {reader.SOURCE}"
  if not path:
    raise UserError(f"config.data.path is not set; {expected}")
  if not os.path.exists(path):
    raise UserError(f"{path}: no such file or folder; {expected}")
  if os.path.isdir(path) and not os.listdir(path):
    raise UserError(f"{path}: an empty folder; {expected}")
  found: list[Any] = list(reader.read(path))
  if not found:
    raise UserError(f"{path}: no {what} of this corpus found; {expected}")
  return found
