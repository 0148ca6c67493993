"""What the readers of all corpora share: the user's path, looked at first."""

import os
import types
from typing import Any

from emojax.errors import UserError


def read(reader: types.ModuleType, path: str | os.PathLike, what: str) -> list:
  """Reads all annotations of a corpus, or says what is wrong with its path.

  Args:
    reader: with `read(path)`; one that takes files from the user's disk also
      has `LAYOUT` and `SOURCE`, which the errors quote.
    path: of the corpus.
    what: it holds, for the error, such as 'audio'.

  Raises:
    UserError: a path that is missing or empty, or that holds nothing of this
      corpus; whatever else the reader finds wrong.
  """
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
