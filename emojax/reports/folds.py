"""What the runs of a system did on a test part, or on those of all folds.

R runs, U test examples, C classes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from emojax import metrics
from emojax import summary as summaries
from emojax.summary import Row

ALL = "all of them"  # The setting of all folds together.


class Tested(NamedTuple):
  """The runs of a system on test examples, in the order of seeds."""

  row_U: np.ndarray  # Of the corpus: equal for the same example.
  label_U: np.ndarray
  speaker_U: np.ndarray | None  # None of faces.
  logits_RxUxC: np.ndarray

  def confusions(self) -> np.ndarray:
    """Counts of each run, [R, C, C]."""
    return np.stack(
      [metrics.confusion_counts(one, self.label_U) for one in self.logits_RxUxC]
    )


def together(
  tested: Mapping[tuple[str, str], Tested],
) -> dict[str, Tested]:
  """All settings as one test part, run by run, by system.

  Empty where there is one setting alone, or where an example is tested in
  several: these are no folds.

  Args:
    tested: by setting and system.
  """
  settings = dict.fromkeys(setting for setting, _ in tested)
  found = {}
  for system in dict.fromkeys(system for _, system in tested):
    folds = [tested[one, system] for one in settings if (one, system) in tested]
    row_U = np.concatenate([fold.row_U for fold in folds])
    is_once = len(np.unique(row_U)) == len(row_U)
    if 1 < len(folds) == len(settings) and is_once:
      speakers = [f.speaker_U for f in folds if f.speaker_U is not None]
      found[system] = Tested(
        row_U,
        np.concatenate([fold.label_U for fold in folds]),
        np.concatenate(speakers) if speakers else None,
        np.concatenate([fold.logits_RxUxC for fold in folds], axis=1),
      )
  return found


def over_speakers(found: Row, tested: Tested) -> Row:
  """See `summary.over_speakers`; the same row where nobody speaks."""
  if tested.speaker_U is None:
    return found
  hits_RxU = tested.logits_RxUxC.argmax(2) == tested.label_U
  return summaries.over_speakers(
    found, hits_RxU, tested.label_U, tested.speaker_U
  )


def row(setting: str, system: str, tested: Tested) -> Row:
  """A row of `summary.METRICS`, with intervals over speakers."""
  found = summaries.row(setting, system, tested.confusions())
  return over_speakers(found, tested)
