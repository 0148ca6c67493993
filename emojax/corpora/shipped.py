"""What the readers of all corpora share: a registry, and the user's path."""

import importlib
import os
import pathlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import ml_collections

from emojax import checks
from emojax.corpora import downloads, records
from emojax.errors import UserError
from emojax.runtime import archives
from emojax.runtime.files import cache_folder


class Reader(Protocol):
  """A module with this function, or anything else that has it.

  One that takes files from the user's disk also states `LAYOUT` (what must be
  there) and `SOURCE` (where the corpus comes from), which the errors quote. One
  of a published corpus has its `LICENCE`, in a few words. One that has
  transcripts also has `read_text`, which yields the same records where the
  audio is not there: their path is ''. One whose file names say who speaks also
  has `speaker_of`, which gives the speaker, or None of other names.
  """

  def read(self, path: str) -> Any:
    """Gives a record for each recording or face of the corpus."""


class Readers:
  """The corpora of one kind, by name: a module each, or registered."""

  def __init__(self, package: str, kind: str, what: str):
    """Takes a package; errors call a corpus `kind`, what it holds `what`."""
    self._package, self._kind, self._what = package, kind, what
    self._registered: dict[str, Reader] = {}

  def register(self, name: str, reader: Reader) -> None:
    """Adds or replaces a corpus at run time; see `docs/adding.md`."""
    if name in self._shipped():
      raise ValueError(f"there is a {self._kind} called {name!r}")
    self._registered[name] = reader

  def names(self) -> list[str]:
    """The corpora that can be read."""
    return sorted([*self._shipped(), *self._registered])

  def speaker_rules(
    self,
  ) -> dict[str, Callable[[pathlib.PurePath], str | None]]:
    """What says who speaks by the name of a file, by corpus."""
    readers = {name: self._find(name) for name in self.names()}
    return {
      name: reader.speaker_of
      for name, reader in readers.items()
      if hasattr(reader, "speaker_of")
    }

  def read(
    self, name: str, path: str | os.PathLike, needs_audio: bool = True
  ) -> list:
    """Reads all annotations of a corpus; no audio and no image is decoded.

    `needs_audio`: a corpus with transcripts is refused without it. Two
    spellings of one speaker, session or dialogue are one, see `records.unify`.

    Raises:
      UserError: an unknown corpus; a path that is missing or empty, or that
        holds nothing of this corpus; whatever else the reader finds wrong.
    """
    reader = self._find(name)
    text = getattr(reader, "read_text", reader.read)
    read = reader.read if needs_audio else text
    if not hasattr(reader, "LAYOUT"):
      return _unified(read(os.fspath(path)), name)
    path = os.path.expanduser(path)
    expected = f"expected {reader.LAYOUT}; {reader.SOURCE}"
    if not path:
      raise UserError(f"config.data.path is not set; {expected}")
    if not os.path.exists(path):
      raise UserError(f"{path}: no such file or folder; {expected}")
    try:
      if os.path.isdir(path) and not os.listdir(path):
        raise UserError(f"{path}: an empty folder; {expected}")
    except OSError as error:
      raise UserError(f"{path}: can not be read ({error.strerror})") from error
    found = _unified(read(path), path)
    if not found:
      why = archives.packed(path) or f"no {self._what} of this corpus found"
      raise UserError(f"{path}: {why}; {expected}")
    return found

  def read_all(self, data: ml_collections.ConfigDict) -> list[tuple[str, list]]:
    """Reads all corpora of a `config.data`, downloaded if it says so.

    Each comes with its name. Where `data` asks for no audio features (their
    name is 'none'), a corpus with transcripts needs no audio.

    Raises:
      UserError: a corpus that is there twice, not one path each, or what
        `read` and `fetch` find wrong.
    """
    names, paths = _named(data)
    needs_audio = data.get("audio_features") != "none"
    found = []
    for name, path in zip(names, paths, strict=True):
      if data.download and not path and hasattr(self._find(name), "LAYOUT"):
        path = self.fetch(name, cache_folder() / "downloads")
      found.append((name, self.read(name, path, needs_audio)))
    return found

  def fetch(self, name: str, folder: str | os.PathLike) -> pathlib.Path:
    """Downloads a corpus, see `downloads.fetch`, or says where it is from."""
    reader = self._find(name)
    if name in downloads.names() or not hasattr(reader, "SOURCE"):
      return downloads.fetch(name, folder)
    raise UserError(
      f"{name}: can not be downloaded by code; {reader.SOURCE}; then give its "
      f"folder, with {reader.LAYOUT}; can be downloaded: "
      f"{', '.join(downloads.names())}"
    )

  def licence(self, name: str) -> str:
    """That of a corpus, in a few words; '' where it states none."""
    return getattr(self._find(name), "LICENCE", "")

  def _shipped(self) -> list[str]:
    path = importlib.import_module(self._package).__path__
    return [module.name for module in pkgutil.iter_modules(path)]

  def _find(self, name: str) -> Reader:
    if name in self._registered:
      return self._registered[name]
    if name in self._shipped():
      return importlib.import_module(f"{self._package}.{name}")
    raise UserError(
      f"config.data.corpus = {name!r}: no such {self._kind}; there are "
      f"{', '.join(self.names())}"
    )


def names_of(data: ml_collections.ConfigDict) -> list[str]:
  """The corpora that a `config.data` names."""
  return [name.strip() for name in data.corpus.split(",")]


def _unified(found: Iterable, where: str) -> list:
  """The records; of utterances with one spelling of each name."""
  found = list(found)
  of_speech = all(isinstance(one, records.Utterance) for one in found)
  return records.unify(found, where) if of_speech else found


def _named(data: ml_collections.ConfigDict) -> tuple[list[str], list[str]]:
  """The corpora, and the path of each; that of one may hold commas."""
  names = names_of(data)
  if len(set(names)) < len(names):
    raise UserError(
      f"config.data.corpus = {data.corpus!r}: name each corpus once"
    )
  if len(names) == 1:
    quoted = data.path.startswith('"') and checks.names(data.path)
    return names, quoted if quoted and len(quoted) == 1 else [data.path]
  text = data.path.strip() or "," * (len(names) - 1)
  paths = checks.names(text)
  if len(paths) != len(names):
    raise UserError(
      f"config.data.path = {data.path!r}: {len(paths)} paths for {len(names)} "
      f"corpora ({data.corpus}); give one each, in their order, and in double "
      "quotes one that holds a comma"
    )
  return names, paths
