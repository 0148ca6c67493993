"""Speech clips for the study: the selector on the speech study's classifier."""

from collections.abc import Iterator

import ml_collections
import numpy as np

from emojax.corpora.records import PARTS
from emojax.data import builders, clips
from emojax.trainers.rlps.material import (
  Material,
  Part,
  as_it_is,
  with_label_noise,
)

SAMPLE_RATE = builders.SAMPLE_RATE


def read(config: ml_collections.ConfigDict) -> Iterator[Material]:
  """Yields the demo corpus of speech once for each kind of label noise.

  Args:
    config: a whole config; its parts `data` and `split` are read.

  Raises:
    UserError: whatever is wrong with the corpus, its labels or its split.
  """
  data = config.data
  found, _ = clips.read(config)
  (split,) = (one.parts for one in found.splits.values())
  size = round(data.max_seconds * SAMPLE_RATE)
  rows = {part: split[part] for part in PARTS}
  clean = as_it_is(
    classes=found.classes,
    parts={part: _part(found, rows[part], size) for part in PARTS},
    name_N=found.path_U[rows["train"]],
    demo=bool((found.corpus_U == "demo").any()),
  )
  for name in data.noise:
    if name == "none":
      yield clean
    else:
      yield with_label_noise(clean, name, data.label_noise_rate, config.seed)


def _part(found: clips.Material, rows: np.ndarray, size: int) -> Part:
  """The beginnings of the clips, at most `size` samples."""
  audio_IxS = np.zeros((len(rows), size), np.int16)
  length_I = np.zeros(len(rows), np.int32)
  for index, row in enumerate(rows):
    audio = found.audio[row][:size]
    audio_IxS[index, : len(audio)] = audio
    length_I[index] = len(audio)
  return Part(
    {"audio": audio_IxS, "length": length_I},
    found.class_U[rows].astype(np.int32)[:, None],
  )
