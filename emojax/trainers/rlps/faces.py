"""Faces for the study: a corpus as shipped, and noise whose truth is known."""

import dataclasses
import logging
from collections.abc import Iterator

import ml_collections
import numpy as np

from emojax.corpora import labels
from emojax.corpora.records import PARTS
from emojax.data import face_store as store
from emojax.data import noise
from emojax.data.face_store import FaceTable
from emojax.runtime.compilation import cache_folder
from emojax.trainers.rlps.material import (
  Material,
  Part,
  as_it_is,
  with_label_noise,
)

_LOG = logging.getLogger(__name__)

INTERCEPTED = "half and no faces"
# Where annotators have voted, an image of which fewer agree is contested.
_AGREED = 0.8


def read(config: ml_collections.ConfigDict) -> Iterator[Material]:
  """Yields the corpus once for each kind of noise.

  Args:
    config: a whole config; its part `data` is read.

  Raises:
    UserError: whatever is wrong with the corpus or its labels.
  """
  data = config.data
  classes, index = labels.parse_classes(data.labels)
  table, _ = store.prepare(
    data.corpus,
    data.path,
    cache_folder() / "faces",
    tuple(data.image_size),
    data.channels,
    data.max_skipped,
  )
  class_N = labels.class_index(table.label.tolist(), index)
  rows = store.split(table, class_N)
  clean = _clean(data.corpus, table, classes, class_N, rows)
  for name in data.noise:
    if name == "none":
      yield clean
    elif name == "intercepted":
      yield _intercepted(clean, config)
    else:
      yield with_label_noise(clean, name, data.label_noise_rate, config.seed)


def _clean(corpus: str, table: FaceTable, classes, class_N, rows) -> Material:
  parts = {
    part: Part(
      np.ascontiguousarray(table.images[rows[part]]),
      class_N[rows[part]].astype(np.int32)[:, None],
    )
    for part in PARTS
  }
  train = rows["train"]
  clean = as_it_is(
    classes=classes,
    parts=parts,
    name_N=table.name[train],
    demo=corpus == "demo",
    picture_N=parts["train"].inputs,
  )
  if not table.votes.shape[1]:
    return clean
  votes_NxV = table.votes[train]
  share_N = votes_NxV.max(1) / votes_NxV.sum(1)
  return dataclasses.replace(
    clean,
    kinds=("agreed", "contested"),
    kind_N=(share_N < _AGREED).astype(np.int8),
    noise=("contested",),
  )


def _intercepted(clean: Material, config) -> Material:
  """The noise set of section 4.5; validation and test stay as they are."""
  train = clean.parts["train"]
  images, kind_N = noise.intercept(
    train.inputs, config.seed, config.data.half_faces, config.data.no_faces
  )
  return clean.with_training_part(
    Part(images, train.label_IxE),
    setting=INTERCEPTED,
    kinds=tuple(f"{kind} face" for kind in noise.KINDS),
    kind_N=kind_N,
    noise=("none face",),
    picture_N=images,
  )
