"""The proof of a split: who and what is in which part, and what is in two.

U utterances, all corpora together.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from emojax import markdown
from emojax.corpora import records
from emojax.data.splits import Split
from emojax.errors import UserError

# What holds where `audit` has raised nothing.
AUDITED = (
  "but for what is named above no speaker and no identical recording is in two "
  "parts"
)

_NAMED = 24  # Speakers that a table names.
# The unlabelled part gives away no label, so it may hold the test recordings:
# that is the setting of domain adaptation. No other two parts may meet.
_MAY_SHARE = frozenset(("unlabelled", "test"))
_SHARE = 0.5  # Of the shorter of two clips, from which on they overlap.


def audit(
  split: Split,
  labels: Sequence[str],
  speakers: Sequence[str],
  dialogues: Sequence[str],
  fingerprints: Sequence[str],
  stretches: Sequence[tuple[str, float, float]] = (),
) -> str:
  """Counts what is in each part and checks that no two parts meet.

  Only the unlabelled and the test part may share utterances. Speakers and
  recordings of official parts are as their authors have them: what is in two
  is named. So are clips that overlap in time by more than half of the shorter.

  Args:
    split: rows by part.
    labels: [U], '' where unlabelled.
    speakers, dialogues: [U], unique over all corpora.
    fingerprints: [U], equal for identical recordings, '' where unknown.
    stretches: [U], of what recording each is, from when to when in seconds; or
      none.

  Returns:
    A Markdown table: utterances, dialogues, speakers and labels of each part;
    and a paragraph for whatever is in two.

  Raises:
    UserError: an empty part; a speaker or a recording in two parts.
  """
  labels, speakers, dialogues, fingerprints = map(
    np.asarray, (labels, speakers, dialogues, fingerprints)
  )
  for name, rows in split.parts.items():
    if not len(rows):
      raise UserError(f"the {name} part of the split is empty")
  notes = []
  for pair in itertools.combinations(split.parts, 2):
    if set(pair) == _MAY_SHARE:
      continue
    for what, values in (("speaker", speakers), ("recording", fingerprints)):
      if split.official:
        notes += _shared(split, pair, what, values)
      else:
        _check_apart(split, pair, what, values, speakers, dialogues)
    if len(stretches):
      notes += _overlapping(split, pair, stretches)
  names = sorted(set(labels.tolist()) - {""})
  table = [["part", "utterances", "dialogues", "speakers", *names, "no label"]]
  for part, rows in split.parts.items():
    counts = Counter(labels[rows].tolist())
    who = people(speakers[rows].tolist())
    numbers = len(rows), len(set(dialogues[rows].tolist())), who
    labelled = (counts[name] for name in (*names, ""))
    table.append([part, *map(str, (*numbers, *labelled))])
  text = markdown.table(table, num_names=len(table[0]))
  return "\n\n".join([text, *notes])


def people(speakers: Iterable[str]) -> str:
  """How many they are, and who, of many the first, for a table."""
  who = sorted(_people(speakers))
  more = f" and {len(who) - _NAMED} others" if len(who) > _NAMED else ""
  return f"{len(who)}: {' '.join(who[:_NAMED])}{more}"


def _people(speakers: Iterable[str]) -> set[str]:
  """Each of those who speak, also of several at once."""
  return {who for one in set(speakers) for who in records.people(one)}


def _shared(split, pair, what, values) -> list[str]:
  """Says who or how much of two parts is in both."""
  one, other = (values[split.parts[part]].tolist() for part in pair)
  first, last = pair
  if what == "speaker":
    both = _people(one) & _people(other)
    said = f"speakers are in the {first} and the {last} part, too: "
    return (
      [f"{len(both)} {said}{people(both).partition(': ')[2]}"] if both else []
    )
  known = set(one) - {""}
  count = sum(name in known for name in other)
  said = (
    f"recordings of the {last} part are identical to one of the {first} part"
  )
  return [f"{count} of {len(other)} {said}"] if count else []


def _overlapping(split, pair, stretches) -> list[str]:
  """Says how many clips of the last part overlap in time with others' ones."""
  by_source: dict[str, tuple[list, list]] = {}
  for place, part in enumerate(pair):
    for row in split.parts[part].tolist():
      source, *times = stretches[row]
      by_source.setdefault(source, ([], []))[place].append(times)
  count = 0
  for ones, others in by_source.values():
    if not ones or not others:
      continue
    start_N, end_N = np.array(ones, float).T
    for start, end in others:
      shorter_N = np.minimum(end_N - start_N, end - start)
      overlap_N = np.minimum(end_N, end) - np.maximum(start_N, start)
      count += bool((overlap_N > _SHARE * shorter_N).any())
  first, last = pair
  total = len(split.parts[last])
  said = (
    f"clips of the {last} part overlap in time with one of the {first} part"
  )
  return [f"{count} of {total} {said}"] if count else []


def _check_apart(split, pair, what, values, speakers, dialogues) -> None:
  """Refuses a value that rows of both parts have."""
  each = _people if what == "speaker" else set
  one, other = (each(values[split.parts[part]].tolist()) for part in pair)
  shared = sorted((one & other) - {""})
  if not shared:
    return
  places = []
  for part in pair:
    row = next(
      row for row in split.parts[part] if shared[0] in each([values[row]])
    )
    who = f"speaker {speakers[row]}, dialogue {dialogues[row]}"
    places.append(f"the {part} part (row {row}: {who})")
  raise UserError(
    f"the same {what} is in {' and in '.join(places)}, {len(shared)} such in "
    "all; split or clean the data so that each is in one part only"
  )
