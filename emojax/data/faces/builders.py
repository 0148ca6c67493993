"""Corpora of faces as ArrayRecord files, for whoever reads them with TFDS.

A TensorFlow Datasets builder without TensorFlow, for FER2013, RAF-DB, ExpW and
every other reader. Our own studies read the mapped arrays of `store`, which
takes no time; an example out of ArrayRecord takes 0.2 ms.
"""

import functools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from emojax.data import array_record
from emojax.data.builders import hash_of
from emojax.data.faces.store import FaceTable
from emojax.data.records import PARTS
from emojax.runtime import files

_FACES_IN_A_SHARD = 10_000


class FaceImages(tfds.core.ShardBasedBuilder):
  """Writes the faces of a table in their order, a split for each part."""

  # It is part of the path: raise it with any change of what is written.
  VERSION = tfds.core.Version("1.0.0")
  # Nothing is beside the code, and to look TFDS needs `importlib_resources`,
  # which it does not install.
  code_path = None

  def __init__(self, table: FaceTable, **options: Any):
    """Starts with the faces to write.

    Args:
      table: the faces.
      **options: of TFDS.
    """
    self._table = table
    super().__init__(**options)

  def _info(self) -> tfds.core.DatasetInfo:
    text = ("label", "name", "digest")
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Tensor(
            shape=self._table.images.shape[1:], dtype=np.uint8, encoding="bytes"
          ),
          "votes": tfds.features.Tensor(shape=(None,), dtype=np.int64),
          "confidence": tfds.features.Scalar(np.float32),
          **{name: tfds.features.Text() for name in text},
        }
      ),
    )

  def _shard_iterators_per_split(self, dl_manager):
    del dl_manager
    splits = {}
    for index, part in enumerate(PARTS):
      rows = np.flatnonzero(self._table.part == index)
      starts = range(0, len(rows), _FACES_IN_A_SHARD)
      splits[part] = [
        functools.partial(self._examples, rows[i : i + _FACES_IN_A_SHARD])
        for i in starts
      ]
    return {part: shards for part, shards in splits.items() if shards}

  def _examples(self, rows: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    table = self._table
    for row in rows.tolist():
      yield (
        row,
        {
          "image": table.images[row],
          "votes": table.votes[row].astype(np.int64),
          "confidence": table.confidence[row],
          "label": str(table.label[row]),
          "name": str(table.name[row]),
          "digest": str(table.digest[row]),
        },
      )


def build(
  corpus: str, table: FaceTable, data_dir: str | os.PathLike
) -> FaceImages:
  """Writes a corpus as ArrayRecord files, or finds it written.

  An interruption leaves nothing that is taken for a corpus.

  Args:
    corpus: its name, which the folder gets.
    table: from `store.prepare`.
    data_dir: where written corpora are kept; made if it is missing.

  Returns:
    A builder whose `as_data_source(part)` gives `image` uint8 [H, W, C],
    `label`, `name` and `digest` (bytes), `votes` int64 [V] and `confidence`.

  Raises:
    UserError: the folder does not take the files, the disk is full, or files
      that were there are missing.
  """
  version = hash_of(
    [
      table.images.shape,
      *(table.digest.tolist(), table.label.tolist(), table.part.tolist()),
      *(table.name.tolist(), table.votes.tolist()),
    ]
  )
  folder = pathlib.Path(data_dir).expanduser() / f"{corpus}-{version}"
  with files.explained(folder):
    make = functools.partial(
      FaceImages, table, data_dir=folder, file_format="array_record"
    )
    builder = array_record.write(make(), make)
  array_record.check(builder, folder)
  return builder
