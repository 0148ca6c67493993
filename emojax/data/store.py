"""What is computed once and kept: whole or not there, found by its name.

`open_or_create` keeps one large array, computed in one go, with small arrays
beside it: `values.bin` holds its rows one after the other and is mapped into
memory or read by rows, so that only what is read takes room; `index.npz` holds
the rest.
`Vectors` keeps one small file for each content, each as soon as it is there:
what was interrupted goes on.

Whoever computes names the folder after everything that changes a value.
Several processes may use the same one: the first to finish wins.
"""

import dataclasses
import errno
import functools
import hashlib
import io
import math
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

# Registers bfloat16 with NumPy.
import ml_dtypes  # noqa: F401
import numpy as np

from emojax.errors import UserError
from emojax.runtime import files

_VALUES, _INDEX = "values.bin", "index.npz"
_SHAPE, _TYPE = "values.shape", "values.dtype"


class Writer:
  """Takes rows [n, ...] of one shape and type, in any order."""

  def __init__(self, file: int):
    self._file = file
    self.num_rows = 0
    self.kind: tuple[tuple[int, ...], np.dtype] | None = None

  def put(self, start: int, rows: np.ndarray) -> None:
    """Puts rows [n, ...] where row `start` and the next ones belong."""
    kind = rows.shape[1:], rows.dtype
    self.kind = self.kind or kind
    if kind != self.kind:
      raise ValueError(f"rows of {kind} among those of {self.kind}")
    content = np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data
    # Not through a map: there a full disk would kill the process.
    place = start * rows[:1].nbytes
    if os.pwrite(self._file, content, place) < len(content):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    self.num_rows = max(self.num_rows, start + len(rows))

  def append(self, rows: np.ndarray) -> None:
    """Puts rows [n, ...] behind the last one."""
    self.put(self.num_rows, rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Store:
  """What `open_or_create` gives; small to copy to other processes."""

  folder: pathlib.Path
  shape: tuple[int, ...]  # Of `values`.
  dtype: np.dtype
  arrays: Mapping[str, np.ndarray] = dataclasses.field(repr=False)  # The small.

  @functools.cached_property
  def values(self) -> np.ndarray:
    """The large array [N, ...], mapped from the disk and read-only.

    The map keeps a file open. Of what has many stores, `rows` keeps none.
    """
    if not math.prod(self.shape):
      return np.zeros(self.shape, self.dtype)
    return np.memmap(self.path, self.dtype, "r", shape=self.shape)

  def rows(self, start: int, stop: int) -> np.ndarray:
    """Reads these rows of `values`; a `UserError` if they are not there."""
    of_row = self.dtype.itemsize * math.prod(self.shape[1:])
    size = (stop - start) * of_row
    # Not `open`, which takes twice as long: a batch has many of them.
    file = os.open(self.path, os.O_RDONLY)
    try:
      content = os.pread(file, size, start * of_row)
    finally:
      os.close(file)
    if len(content) < size:
      raise _damaged(self.path, f"it ends before row {stop}")
    return np.frombuffer(content, self.dtype).reshape(
      stop - start, *self.shape[1:]
    )

  def check(self) -> None:
    """Raises a `UserError` where the large array is not there whole."""
    size = self.dtype.itemsize * math.prod(self.shape)
    if not self.path.exists() or self.path.stat().st_size != size:
      raise _damaged(self.path, f"it does not hold {size} bytes")

  @property
  def path(self) -> pathlib.Path:
    """The file of the large array."""
    return self.folder / _VALUES

  def __getstate__(self):
    # The map is opened anew in another process.
    return {k: v for k, v in vars(self).items() if k != "values"}


class Sequences(Sequence):
  """Sequences [T, ...] that lie one after the other in a store, by index."""

  def __init__(self, store: Store, lengths: Sequence[int]):
    self.lengths = np.asarray(lengths)
    self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
    self._store = store

  def __len__(self) -> int:
    return len(self.lengths)

  def __getitem__(self, index: int) -> np.ndarray:
    return self._store.rows(*self._starts[index : index + 2].tolist())


def open_or_create(
  folder: pathlib.Path, compute: Callable[[Writer], Mapping[str, np.ndarray]]
) -> Store:
  """Opens a store, or computes it first.

  `compute` gives all rows of the large array to the writer, at least one, and
  returns the small arrays, which may be strings.

  Raises:
    UserError: the folder cannot be written, the disk is full, or the store is
      damaged.
  """
  if not is_there(folder):
    create(folder, compute)
  return read(folder)


def is_there(folder: pathlib.Path) -> bool:
  """Whether a store is there; it may be damaged."""
  with files.readable(folder):
    return (folder / _INDEX).exists()


def read(folder: pathlib.Path) -> Store:
  """Opens a store that is there; a `UserError` tells of a damaged one."""
  path = folder / _INDEX
  try:
    with files.readable(path), open(path, "rb") as file:
      arrays = dict(np.load(file, allow_pickle=False))
  except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise _damaged(path, str(error)) from error
  shape = tuple(arrays.pop(_SHAPE).tolist())
  store = Store(folder, shape, np.dtype(str(arrays.pop(_TYPE))), arrays)
  store.check()
  return store


def create(
  folder: pathlib.Path, compute: Callable[[Writer], Mapping[str, np.ndarray]]
) -> None:
  """Computes a store; see `open_or_create`."""
  with files.explained(folder):
    _create(folder, compute)


def _create(folder: pathlib.Path, compute) -> None:
  with files.work_folder(folder) as work:
    with open(work / _VALUES, "wb") as file:
      writer = Writer(file.fileno())
      arrays = compute(writer)
    shape, dtype = writer.kind
    described = {_SHAPE: [writer.num_rows, *shape], _TYPE: str(dtype)}
    _save(work / _INDEX, np.savez, **arrays, **described)
    try:
      work.rename(folder)
    except OSError:
      # Another process may have been first; its store is the same.
      if not is_there(folder):
        raise


def _damaged(path: pathlib.Path, why: str) -> UserError:
  return UserError(
    f"{path}: damaged ({why}); remove its folder and run the same command again"
  )


@dataclasses.dataclass(frozen=True)
class Vectors:
  """float32 [D], one file for each content, by its digest."""

  folder: pathlib.Path

  def make(self) -> None:
    """Makes the folder; a `UserError` says why it can not be there."""
    with files.explained(self.folder):
      self.folder.mkdir(parents=True, exist_ok=True)

  def get(self, digest: str) -> np.ndarray | None:
    """Gives a kept vector; None if it is not there whole."""
    path = self._path(digest)
    try:
      with files.readable(path):
        vector = np.load(path, allow_pickle=False)
    except (FileNotFoundError, NotADirectoryError, ValueError, EOFError):
      return None
    is_vector = vector.ndim == 1 and vector.dtype == np.float32
    # Older caches have an empty one where a recording could not be read.
    return vector if is_vector and len(vector) else None

  def put(self, digest: str, vector: np.ndarray) -> None:
    """Keeps a vector, whole or not at all; a `UserError` on a full disk."""
    with files.whole(self._path(digest)) as temporary:
      _save(temporary, np.save, vector)

  def _path(self, digest: str) -> pathlib.Path:
    return self.folder / digest[:2] / f"{digest}.npy"


def digest(paths: Iterable[pathlib.Path]) -> str:
  """SHA-256 of the names and the content of files."""
  content = hashlib.sha256()
  for path in filter(pathlib.Path.is_file, paths):
    with open(path, "rb") as file:
      of_file = hashlib.file_digest(file, "sha256").hexdigest()
    content.update(f"{path.name}\0{of_file}\0".encode())
  return content.hexdigest()


def _save(path: pathlib.Path, save: Callable, *arrays, **named) -> None:
  """NumPy's own writing to a full disk fails without saying that it is full."""
  content = io.BytesIO()
  save(content, *arrays, **named)
  path.write_bytes(content.getvalue())
