"""Who is labelled, who is unlabelled and who is tested; and the proof of it."""

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from emojax.audio import io
from emojax.corpora.records import Utterance
from emojax.data.table import FeatureTable, normalise_session
from emojax.errors import UserError

# What holds where `audit` has raised nothing.
AUDITED = "no speaker and no identical recording is in two parts"

# The unlabelled part gives away no label, so it may hold the test recordings:
# that is the setting of domain adaptation. No other two parts may meet.
_MAY_SHARE = frozenset(("unlabelled", "test"))


@dataclasses.dataclass(frozen=True)
class Split:
  """Rows of a table by part.

  Attributes:
    parts: int64 [N] rows by name, such as 'labelled', 'unlabelled', 'test'.
  """

  parts: dict[str, np.ndarray]


def by_speakers(speakers: np.ndarray, test_speakers: str) -> Split:
  """Tests on some speakers, whose recordings are also the unlabelled part.

  Args:
    speakers: str [U].
    test_speakers: names separated by commas; all others are labelled.

  Raises:
    UserError: an unknown speaker, none to test, or none left to learn from.
  """
  speakers = np.asarray(speakers)
  known = sorted(set(speakers.tolist()))
  where = f"config.data.test_speakers = {test_speakers!r}"
  chosen = [name.strip() for name in test_speakers.split(",") if name.strip()]
  if not chosen:
    raise UserError(f"{where}: name at least one of {', '.join(known)}")
  unknown = [name for name in chosen if name not in known]
  if unknown:
    raise UserError(
      f"{where}: no speaker {', '.join(unknown)}; there are {', '.join(known)}"
    )
  if set(chosen) == set(known):
    raise UserError(
      f"{where}: none of the {len(known)} speakers is left to learn from; "
      "a split needs at least one for the test and one besides"
    )
  tested = np.isin(speakers, chosen)
  test = np.flatnonzero(tested)
  parts = {
    "labelled": np.flatnonzero(~tested),
    "unlabelled": test,
    "test": test,
  }
  return Split(parts)


def by_sessions(sessions: np.ndarray, labelled: str, test: str) -> Split:
  """Splits as Lian et al. do: TS 1234, 123, 134, 234 and 23.

  Args:
    sessions: str [U], normalised.
    labelled: digits of the labelled sessions; all others are unlabelled.
    test: digit of the test session, which is one of the unlabelled.

  Raises:
    UserError: there are no sessions, one of them is missing, or the test
      session is labelled.
  """
  sessions = np.asarray(sessions)
  where = f"setting TS {labelled}, test {test}"
  known = sorted(set(sessions.tolist()) - {""})
  if not known:
    raise UserError(
      f"{where}: the data have no sessions; give a session for each utterance, "
      "or split by config.data.test_speakers"
    )
  chosen = [normalise_session(digit) for digit in labelled]
  test = normalise_session(test)
  if not chosen or test in chosen:
    raise UserError(
      f"{where}: name labelled sessions, and another one for the test"
    )
  missing = [name for name in (*chosen, test) if name not in known]
  if missing:
    raise UserError(
      f"{where}: no session {', '.join(missing)}; there are {', '.join(known)}"
    )
  taken = np.isin(sessions, chosen)
  return Split(
    {
      "labelled": np.flatnonzero(taken),
      "unlabelled": np.flatnonzero(~taken),
      "test": np.flatnonzero(sessions == test),
    }
  )


def file_fingerprints(utterances: Sequence[Utterance]) -> list[str]:
  """One name for the same bytes, for each recording; '' if unreadable."""

  def fingerprint(utterance: Utterance) -> str:
    try:
      return io.content_hash(utterance.path)
    except io.UnreadableAudio:
      return ""

  return [fingerprint(utterance) for utterance in utterances]


def table_fingerprints(table: FeatureTable) -> list[str]:
  """One name for the same features, for each row; '' if they tell nothing.

  Two people may say the same words, so rows without audio (none in the table,
  or all zeros) are not taken for copies of each other.
  """
  if "audio" not in table.features:
    return [""] * len(table)
  heard = table.features["audio"].any(axis=1)
  # Adding zero gives -0.0 the bytes of 0.0.
  matrices = [table.features[name] + 0.0 for name in sorted(table.features)]
  return [
    hashlib.sha256(b"".join(row.tobytes() for row in rows)).hexdigest()
    if sound
    else ""
    for sound, *rows in zip(heard, *matrices, strict=True)
  ]


def audit(
  split: Split,
  labels: Sequence[str],
  speakers: Sequence[str],
  dialogues: Sequence[str],
  fingerprints: Sequence[str],
) -> str:
  """Counts what is in each part and checks that no two parts meet.

  Only the unlabelled and the test part may share utterances.

  Args:
    split: rows by part.
    labels: [U], '' where unlabelled.
    speakers: [U].
    dialogues: [U], unique over the whole corpus.
    fingerprints: [U], equal for identical recordings, '' where unknown.

  Returns:
    A Markdown table: utterances, dialogues, speakers and labels of each part.

  Raises:
    UserError: an empty part; a speaker or a recording in two parts.
  """
  labels, speakers, dialogues, fingerprints = map(
    np.asarray, (labels, speakers, dialogues, fingerprints)
  )
  for name, rows in split.parts.items():
    if not len(rows):
      raise UserError(f"the {name} part of the split is empty")
  for one, other in itertools.combinations(split.parts, 2):
    if {one, other} != _MAY_SHARE:
      pair = {one: split.parts[one], other: split.parts[other]}
      _check_apart(pair, "speaker", speakers, speakers, dialogues)
      _check_apart(pair, "recording", fingerprints, speakers, dialogues)
  return _format(split, labels, speakers, dialogues)


def _check_apart(
  pair: dict[str, np.ndarray],
  what: str,
  values: np.ndarray,
  speakers: np.ndarray,
  dialogues: np.ndarray,
) -> None:
  """Refuses a value that rows of both parts have."""
  one, other = (set(values[rows].tolist()) for rows in pair.values())
  shared = sorted((one & other) - {""})
  if not shared:
    return
  places = []
  for part, rows in pair.items():
    row = rows[values[rows] == shared[0]][0]
    places.append(
      f"the {part} part (row {row}: speaker {speakers[row]}, dialogue "
      f"{dialogues[row]})"
    )
  raise UserError(
    f"the same {what} is in {places[0]} and in {places[1]}, {len(shared)} such "
    "in all; split or clean the data so that each is in one part only"
  )


def _format(
  split: Split, labels: np.ndarray, speakers: np.ndarray, dialogues: np.ndarray
) -> str:
  names = sorted(set(labels.tolist()) - {""})
  rows = [["part", "utterances", "dialogues", "speakers", *names, "no label"]]
  for part, index in split.parts.items():
    counts = Counter(labels[index].tolist())
    who = sorted(set(speakers[index].tolist()))
    rows.append(
      [
        part,
        str(len(index)),
        str(len(set(dialogues[index].tolist()))),
        f"{len(who)}: {' '.join(who)}",
        *(str(counts[name]) for name in (*names, "")),
      ]
    )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  rows.insert(1, ["-" * width for width in widths])
  return "\n".join(
    f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows
  )
