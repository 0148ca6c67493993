"""Vectors that were expensive to compute, one file each."""

import io
import os
import pathlib

import numpy as np

from emojax.errors import UserError
from emojax.runtime import files


def place(folder: str | os.PathLike, digest: str) -> pathlib.Path:
  """Where the vector of a content with this digest is kept."""
  return pathlib.Path(folder, digest[:2], f"{digest}.npy")


def make(folder: pathlib.Path) -> None:
  """Makes the folder of a cache.

  Raises:
    UserError: it can not be there.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"{folder}: the cache can not be there ({error.strerror}); choose "
      "another folder"
    ) from error


def read(path: pathlib.Path) -> np.ndarray | None:
  """Gives a kept vector, float32 [D]; None if it is not there whole."""
  try:
    vector = np.load(path, allow_pickle=False)
  except (FileNotFoundError, NotADirectoryError, ValueError, EOFError):
    return None
  if vector.ndim != 1 or vector.dtype != np.float32:
    return None
  return vector


def write(path: pathlib.Path, vector: np.ndarray) -> None:
  """Keeps a vector, whole or not at all.

  Raises:
    UserError: no room on the disk.
  """
  content = io.BytesIO()
  np.save(content, vector)
  # `np.save` to a file fails on a full disk without the errno that says so.
  with files.whole(path) as temporary:
    temporary.write_bytes(content.getvalue())
