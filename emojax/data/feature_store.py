"""Features of clips on disk: computed once, read by index, whole or not there.

All sequences lie one after the other in one file, which is mapped into memory:
of any number of clips only those that are read take room.
"""

import errno
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence

import ml_dtypes
import numpy as np

from emojax.runtime import files

_VALUES, _INDEX = "values.bin", "index.json"
_TYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class FeatureStore(Sequence):
  """Sequences [T, L, D] of one L, D and type, by index."""

  def __init__(self, folder: pathlib.Path):
    """Opens what `create` has written."""
    index = json.loads((folder / _INDEX).read_text())
    self.lengths = np.array(index["lengths"])
    starts = np.concatenate([[0], np.cumsum(self.lengths)])
    self._starts = starts
    self._folder = folder
    self._shape = (int(starts[-1]), *index["shape"])
    self._type = _TYPES[index["type"]]
    self._values = self._open()

  def __len__(self) -> int:
    return len(self.lengths)

  def __getitem__(self, index: int) -> np.ndarray:
    return self._values[self._starts[index] : self._starts[index + 1]]

  def _open(self) -> np.ndarray:
    return np.memmap(self._folder / _VALUES, self._type, "r", shape=self._shape)

  def __getstate__(self):
    # The map is opened anew in another process.
    return {**self.__dict__, "_values": None}

  def __setstate__(self, state):
    self.__dict__.update(state)
    self._values = self._open()


def open_or_create(
  folder: pathlib.Path,
  lengths: Sequence[int],
  compute: Callable[[], Iterable[tuple[int, np.ndarray]]],
) -> FeatureStore:
  """Opens a store, or computes it first.

  Args:
    folder: of the store; its name says what is in it.
    lengths: T of each sequence.
    compute: yields each index once, in any order, with its sequence [T, L, D].

  Raises:
    UserError: the folder cannot be written, or the disk is full.
  """
  if not (folder / _INDEX).exists():
    with files.explained(folder):
      _create(folder, lengths, compute)
  return FeatureStore(folder)


def _create(folder, lengths, compute) -> None:
  folder.parent.mkdir(parents=True, exist_ok=True)
  work = pathlib.Path(
    tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
  )
  starts = np.concatenate([[0], np.cumsum(lengths)])
  try:
    # Not through a map: there a full disk would kill the process.
    with open(work / _VALUES, "wb") as file:
      for index, values in compute():
        values = np.ascontiguousarray(values)
        frame_bytes = values[:1].nbytes
        view = values.view(np.uint8).reshape(-1).data
        place = int(starts[index]) * frame_bytes
        if os.pwrite(file.fileno(), view, place) < len(view):
          raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    content = {
      "lengths": [int(length) for length in lengths],
      "shape": list(values.shape[1:]),
      "type": str(values.dtype),
    }
    (work / _INDEX).write_text(json.dumps(content))
    try:
      work.rename(folder)
    except OSError:
      # Another process may have been first; its store is the same.
      if not (folder / _INDEX).exists():
        raise
  finally:
    shutil.rmtree(work, ignore_errors=True)
