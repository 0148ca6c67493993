"""Splits that others have published, so that results can be compared.

U utterances, all corpora together. Each setting is a name and who learns, who
is tested and who validates, as masks [U]; see `splits.make`.
"""

import logging
from collections.abc import Iterator

import numpy as np

from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

# The test actors of RAVDESS, fold by fold, as in `data/ravdess/fold_K` of
# https://github.com/emo-box/EmoBox.
_EMOBOX = {
  "fold 1": ("01", "11", "20", "21"),
  "fold 2": ("04", "10", "12", "14"),
  "fold 3": ("08", "09", "19", "23"),
  "fold 4": ("03", "05", "07", "24"),
  "fold 5": ("02", "15", "16", "18"),
  "fold 6": ("06", "13", "17", "22"),
}


def emobox(
  corpus_U: np.ndarray, speaker_U: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray, None]]:
  """Tests four actors of RAVDESS in each of six folds, as EmoBox does.

  Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition
  Toolkit and Benchmark", Interspeech 2024. Its folds have no validation part,
  and its code draws one from the training clips, so that the same actors train
  and validate. Here nobody is named for it (None), and `splits.make` takes a
  fifth of the other 20 actors: what is tested is the same, but four actors
  fewer teach.

  Raises:
    UserError: another corpus, a speaker that is no actor of RAVDESS, a fold of
      which no actor is there.
  """
  corpora = sorted(set(corpus_U.tolist()))
  if corpora != ["ravdess"]:
    raise UserError(
      "config.split.method = 'emobox': these folds are of ravdess alone, and "
      f"the data are {', '.join(corpora) or 'of no corpus'}; choose another "
      "config.split.method"
    )
  known = set(speaker_U.tolist())
  actors = sorted(actor for fold in _EMOBOX.values() for actor in fold)
  if unknown := sorted(known.difference(actors)):
    raise UserError(
      "config.split.method = 'emobox': the folds name the actors 01 to 24 of "
      f"RAVDESS; no {', '.join(unknown[:3])}"
    )
  missing = [actor for actor in actors if actor not in known]
  for fold, test in _EMOBOX.items():
    if known.isdisjoint(test):
      raise UserError(
        f"config.split.method = 'emobox': {fold} tests the actors "
        f"{', '.join(test)}, and none of them is there; get all of RAVDESS, or "
        "choose another config.split.method"
      )
  if missing:
    _LOG.warning(
      "config.split.method = 'emobox': %d of 24 actors are not there (%s): "
      "figures can not be compared with published ones",
      *(len(missing), ", ".join(missing)),
    )
  for fold, test in _EMOBOX.items():
    test_U = np.isin(speaker_U, test)
    yield fold, ~test_U, test_U, None
