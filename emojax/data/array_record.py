"""What all TensorFlow Datasets builders here share: writing without TensorFlow.

`ShardBasedBuilder` with `file_format="array_record"` writes as it goes, into a
temporary folder that it renames when it is whole.
"""

import contextlib
import errno
import io
import os
import pathlib
from collections.abc import Callable
from typing import TypeVar

import tensorflow_datasets as tfds

from emojax.errors import UserError

B = TypeVar("B", bound=tfds.core.DatasetBuilder)


def write(builder: B, reopen: Callable[[], B]) -> B:
  """Writes what a builder generates, and returns a builder that reads it.

  Args:
    builder: with nothing written yet.
    reopen: makes a builder of what another process has written meanwhile.

  Raises:
    OSError: the folder does not take the files, or the disk is full.
  """
  try:
    # TFDS prints to the standard output that it downloads; it does not.
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
  except RuntimeError as error:  # ArrayRecord's own writer has no errno.
    if os.strerror(errno.ENOSPC) in str(error):
      raise OSError(errno.ENOSPC, str(error)) from error
    raise
  except OSError:
    # Another process may have been first to give its files their name.
    if not builder.data_path.exists():
      raise
    return reopen()
  return builder


def check(builder: tfds.core.DatasetBuilder, folder: pathlib.Path) -> None:
  """Looks whether all files of all splits are there.

  Raises:
    UserError: names the first that is missing.
  """
  for split in builder.info.splits.values():
    missing = [path.name for path in split.filepaths if not path.exists()]
    if missing:
      raise UserError(
        f"{folder}: damaged, {missing[0]} is missing; remove the folder and "
        "run the same command again"
      )
