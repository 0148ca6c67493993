"""Recordings that are there more than once, and what is said of them."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from emojax.corpora.records import Utterance
from emojax.data.table import FeatureTable
from emojax.errors import UserError, one_line

_LOG = logging.getLogger(__name__)

# What its owner can mend; a corpus that is shipped is as it is.
_OWN = "manifest"
_NAMED = 3


def identities(table: FeatureTable) -> np.ndarray:
  """Of each utterance, str [U]: its fingerprint, or where and who it is of."""
  names = table.corpus, table.session, table.dialogue, table.turn.astype(str)
  places = map("/".join, zip(*names, table.speaker, strict=True))
  prints = table.fingerprint.tolist()
  return np.array([a or b for a, b in zip(prints, places, strict=True)], str)


def check(
  corpus: str,
  utterances: Sequence[Utterance],
  fingerprints: Sequence[str],
  classes: Mapping[str, int],
) -> None:
  """Says how many recordings of a corpus are identical, and which.

  Args:
    corpus: its name.
    utterances: its records, [U].
    fingerprints: [U], equal for identical recordings, '' where unknown.
    classes: the labels that are kept; what is one class does not differ.

  Raises:
    UserError: in the user's own corpus two of them have different labels.
  """
  same: dict[str, list[Utterance]] = {}
  for name, one in zip(fingerprints, utterances, strict=True):
    if name:
      same.setdefault(name, []).append(one)
  again = [found for found in same.values() if len(found) > 1]
  contrary = []
  for found in again:
    by_class = {classes.get(one.label, one.label): one for one in found}
    by_class.pop("", None)  # Without a label it contradicts nothing.
    if len(by_class) > 1:
      contrary.append(tuple(by_class.values())[:2])
  pairs = [
    f"{_where(one)} is {one.label} and {_where(other)}, the same recording, "
    f"{other.label}"
    for one, other in contrary[:_NAMED]
  ]
  if pairs and corpus == _OWN:
    raise UserError(
      f"{pairs[0]}; {len(contrary)} such in all: give each recording one label"
    )
  if pairs:
    _LOG.warning(
      "%s: recordings that are there with two labels: %d, such as %s",
      *(corpus, len(contrary), "; ".join(pairs)),
    )
  copies = sum(len(found) - 1 for found in again)
  if copies:
    named = "; ".join(
      " = ".join(map(_where, found[:2])) for found in again[:_NAMED]
    )
    _LOG.warning(
      "%s: recordings that are copies of others, and count each: %d of %d, "
      "such as %s",
      *(corpus, copies, len(utterances), named),
    )


def _where(one: Utterance) -> str:
  if (one.start, one.end) == (0, None):
    return one_line(one.path)
  last = "its end" if one.end is None else f"{one.end:g} s"
  return f"{one_line(one.path)} from {one.start:g} s to {last}"
