"""Cross-validation inside the labelled part: test labels are never read."""

import numpy as np

from emojax.data.splits import Split
from emojax.errors import UserError


def inner_folds(
  split: Split, session: np.ndarray, speaker: np.ndarray, num_folds: int
) -> list[Split]:
  """Holds out parts of the labelled speakers in turn.

  A fold is a split of its own: what it holds out becomes its test part, and
  joins the unlabelled part. Whole sessions are held out where the labelled
  part has several, each with speakers of its own, else groups of speakers.

  Args:
    split: with the parts 'labelled' and 'unlabelled'.
    session: str [U], '' where there is none.
    speaker: str [U].
    num_folds: at most; one a session or speaker where there are fewer.

  Raises:
    UserError: the labelled part has one speaker only.
  """
  labelled = split.parts["labelled"]
  sessions, speakers = session[labelled], speaker[labelled]
  meetings = set(zip(sessions.tolist(), speakers.tolist(), strict=True))
  # A speaker who comes to two sessions would be held out and labelled at once.
  has_sessions = len(np.unique(sessions)) > 1
  by_session = has_sessions and len(meetings) == len(np.unique(speakers))
  units = sessions if by_session else speakers
  names = np.unique(units)
  if len(names) < 2:
    raise UserError(
      f"only {names[0]} is labelled: choosing the stabilised recipe needs two "
      "speakers; label more, or set config.stabilised.enabled=False"
    )
  held_out = np.array_split(names, min(num_folds, len(names)))
  return [_fold(split, labelled[np.isin(units, group)]) for group in held_out]


def _fold(split: Split, test: np.ndarray) -> Split:
  return Split(
    {
      "labelled": np.setdiff1d(split.parts["labelled"], test),
      "unlabelled": np.union1d(split.parts["unlabelled"], test),
      "test": test,
    }
  )
