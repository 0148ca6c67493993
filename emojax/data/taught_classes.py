"""Which classes the parts of a split have, and which they lack."""

import itertools
import logging
from collections.abc import Sequence

import numpy as np

from emojax.data.splits import Split
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

_TEACH, _ASK_NOTHING = ("train", "labelled"), "unlabelled"


def check(
  setting: str, split: Split, classes: Sequence[str], class_U: np.ndarray
) -> None:
  """What nobody teaches cannot be learned; what nobody tests is said.

  `class_U` are the classes of all rows, negative where there is none. A part
  without any class lacks more than a class, and is left to others.

  Raises:
    UserError: the part that is learned from lacks a class.
  """
  for part, rows in split.parts.items():
    present_C = np.isin(np.arange(len(classes)), class_U[rows])
    if not present_C.any():
      continue
    missing = list(itertools.compress(classes, ~present_C))
    names = ", ".join(missing)
    if missing and part in _TEACH:
      raise UserError(
        f"{setting}: nothing in the {part} part is {names}; leave it out of "
        "config.data.labels, or choose another config.split"
      )
    if missing and part != _ASK_NOTHING:
      _LOG.warning(
        "%s: nothing in the %s part is %s; unweighted accuracy is the mean "
        "over the other classes",
        *(setting, part, names),
      )
