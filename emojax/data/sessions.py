"""Splits by the sessions of the data, or by the parts that sessions are.

U utterances, all corpora together; sessions [U] are named without their corpus.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from emojax import checks, spelling
from emojax.corpora import records
from emojax.corpora.records import normalise_session
from emojax.errors import UserError

# Nobody has published parts of these.
_OWN = ("", "manifest")


def settings(
  labelled_sessions: Sequence[str],
  test_session: str,
  session_U: np.ndarray,
  corpus_U: np.ndarray,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """As Lian et al., e.g. TS 1234: the digits of the labelled sessions.

  Sessions of longer names stand one after the other with commas: TS 9,10.

  Returns:
    Of each setting its name, and who learns and who is tested, as masks [U].

  Raises:
    UserError: a setting that is there twice, or of sessions that are not there.
  """
  texts = [str(labelled) for labelled in labelled_sessions]
  if not texts or len(set(texts)) < len(texts):
    raise UserError(
      f"config.split.labelled_sessions = {labelled_sessions!r}: name each "
      "setting once, such as ('1234', '23') or ('9,10', 'morning')"
    )
  test = normalise_session(test_session)
  keys_U = np.array([spelling.key(session) for session in session_U])
  for text in texts:
    where = (
      f"TS {text} of config.split.labelled_sessions, tested on "
      f"config.split.test_session = {test_session!r}"
    )
    chosen = _chosen(text, set(keys_U.tolist()), where)
    if not chosen or spelling.key(test) in map(spelling.key, chosen):
      raise UserError(
        f"{where}: name labelled sessions, and another one for the test"
      )
    for corpus in np.unique(corpus_U):
      known = sorted(set(session_U[corpus_U == corpus].tolist()) - {""})
      keys = set(map(spelling.key, known))
      missing = [
        name for name in (*chosen, test) if spelling.key(name) not in keys
      ]
      if missing:
        there = ", ".join(known) or (
          "none: give a session for each utterance, or choose another "
          "config.split.method"
        )
        raise UserError(
          f"{where}: {corpus or 'the data'}: no session {', '.join(missing)}; "
          f"there are {there}"
        )
    learn_U = np.isin(keys_U, [spelling.key(name) for name in chosen])
    yield f"TS {text}", learn_U, keys_U == spelling.key(test)


def _chosen(text: str, known: set[str], where: str) -> list[str]:
  """The sessions that a setting names: its digits, one name, or several."""
  if "," in text:
    return [normalise_session(name) for name in checks.names(text) if name]
  digits, whole = list(map(normalise_session, text)), normalise_session(text)
  by_digits = known.issuperset(map(spelling.key, digits))
  by_name = spelling.key(whole) in known
  if by_digits and by_name and digits != [whole]:
    raise UserError(
      f"{where}: the data have the session {whole} and the sessions "
      f"{', '.join(digits)}; write '{whole},' or '{','.join(digits)}'"
    )
  # What neither is, is named as it was meant.
  return [whole] if by_name or (text and not text.isdigit()) else digits


def official(session_U: np.ndarray, corpus_U: np.ndarray) -> np.ndarray:
  """The part of each utterance, one of `records.PARTS`, that its session is.

  The authors of MELD have drawn such ones, and speakers are in all of them.

  Raises:
    UserError: a corpus whose sessions are no parts, or without one of them.
  """
  known, place_U = np.unique(session_U, return_inverse=True)
  part_U = np.array([records.part_of(name) for name in known])[place_U]
  for corpus in np.unique(corpus_U).tolist():
    parts = set(part_U[corpus_U == corpus].tolist())
    if corpus in _OWN or parts != set(records.PARTS):
      raise UserError(
        f"config.split.method = 'official': {corpus or 'the data'}: no parts "
        "of its authors; choose another, such as 'shuffle', or name your own "
        "parts with config.split.method='folds' and config.split.folds=FILE.csv"
      )
  return part_U
