"""Who learns, who validates and who is tested; and the proof of it.

Parts are made of whole speakers. Each corpus is split by itself and the parts
are merged afterwards ("split, then merge"), so that every corpus is in every
part. U utterances, all corpora together.
"""

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import ml_collections
import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from emojax import checks, markdown
from emojax.corpora.records import normalise_session
from emojax.errors import UserError

METHODS = ("shuffle", "speakers", "k_fold", "leave_one_out", "sessions")
GROUPS = ("speaker", "session", "corpus")
# What holds where `audit` has raised nothing.
AUDITED = "no speaker and no identical recording is in two parts"

_SHARE = 0.2  # Of the speakers that are held out.
# The unlabelled part gives away no label, so it may hold the test recordings:
# that is the setting of domain adaptation. No other two parts may meet.
_MAY_SHARE = frozenset(("unlabelled", "test"))


@dataclasses.dataclass(frozen=True)
class Split:
  """Rows by part.

  Attributes:
    parts: sorted int64 [N] rows by name: 'train', 'validation' and 'test' of a
      system that validates, else 'labelled', 'unlabelled' and 'test'.
  """

  parts: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Names:
  """What a split is made by; anything else with these attributes does too.

  Attributes:
    speaker_U: unique over all corpora, never ''.
    session_U: '' where there is none; of several corpora 'corpus:session'.
    corpus_U: see `records.merge`.
  """

  speaker_U: np.ndarray
  session_U: np.ndarray
  corpus_U: np.ndarray


def make(
  split: ml_collections.ConfigDict, names: Names, validates: bool
) -> dict[str, Split]:
  """The splits that a config asks for.

  Args:
    split: a `config.split`; all its methods but 'official', which reads the
      parts of a corpus and needs no split.
    names: of all utterances.
    validates: the parts are 'train', 'validation' and 'test'. Else they are
      'labelled', 'unlabelled' and 'test', and the unlabelled part is the test
      part (of 'sessions': whatever is not labelled).

  Returns:
    A split for each setting, by its name.

  Raises:
    UserError: a misspelt method or group, a field that the method does not
      read; names that the data do not have, or too few of them.
  """
  checks.choice({"split": split}, "split.method", METHODS)
  checks.choice({"split": split}, "split.group", GROUPS)
  for field, method in (
    ("test_speakers", "speakers"),
    ("validation_speakers", "speakers"),
    ("labelled_sessions", "sessions"),
  ):
    if split[field] and split.method != method:
      raise UserError(
        f"config.split.{field} = {split[field]!r} goes with "
        f"config.split.method = {method!r}, not with {split.method!r}: choose "
        "that method, or set the field empty"
      )
  maker = {
    "shuffle": _shuffle,
    "speakers": _by_speakers,
    "k_fold": _k_fold,
    "leave_one_out": _leave_one_out,
    "sessions": _by_sessions,
  }[split.method]
  return dict(maker(split, names, validates))


def inner_folds(split: Split, names: Names, num_folds: int) -> list[Split]:
  """Cross-validation inside the labelled part: test labels are never read.

  Each fold holds out labelled speakers, who become its test part and join the
  unlabelled part. Whole sessions are held out where the labelled part has
  several, each with speakers of its own, else groups of speakers.

  Args:
    split: with the parts 'labelled' and 'unlabelled'.
    names: of all utterances.
    num_folds: at most; one a session or speaker where there are fewer.

  Raises:
    UserError: the labelled part has one speaker only.
  """
  labelled, unlabelled = split.parts["labelled"], split.parts["unlabelled"]
  sessions, speakers = names.session_U[labelled], names.speaker_U[labelled]
  meetings = set(zip(sessions.tolist(), speakers.tolist(), strict=True))
  # A speaker who comes to two sessions would be held out and labelled at once.
  apart = len(meetings) == len(np.unique(speakers))
  by_session = apart and len(np.unique(sessions)) > 1
  units = sessions if by_session else speakers
  known = np.unique(units)
  if len(known) < 2:
    raise UserError(
      f"only {known[0]} is labelled: choosing the stabilised recipe needs two "
      "speakers; label more, or set config.stabilised.enabled=False"
    )
  held_out = [
    labelled[np.isin(units, group)]
    for group in np.array_split(known, min(num_folds, len(known)))
  ]
  return [
    Split(
      {
        "labelled": np.setdiff1d(labelled, test),
        "unlabelled": np.union1d(unlabelled, test),
        "test": test,
      }
    )
    for test in held_out
  ]


def _shuffle(split, names, validates) -> Iterator[tuple[str, Split]]:
  """Holds out a fifth of the speakers of each corpus.

  With the seed 42 the test speakers are the held-out ones of the published
  speech emotion classifier, `GroupShuffleSplit(0.2, 42)`. It took its best
  epoch on them; here the validation part is a fifth of the other speakers.
  """
  speaker_U, corpus_U = names.speaker_U, names.corpus_U
  tuple(_speakers_by_corpus(speaker_U, corpus_U, 2 + validates))
  learn, test = _hold_out(np.arange(len(speaker_U)), names, split.seed)
  yield "unseen speakers", _split(split, names, validates, learn, test)


def _by_speakers(split, names, validates) -> Iterator[tuple[str, Split]]:
  """Tests, and validates, on speakers that are named; the others teach."""
  fields = ("validation_speakers", "test_speakers")[not validates :]
  chosen = [_named_speakers(split, names, field) for field in fields]
  both = sorted(set(chosen[0]) & set(chosen[-1])) if validates else []
  if both:
    raise UserError(
      f"config.split: {', '.join(both)} validates and tests; name each speaker "
      "once"
    )
  held_out = np.isin(names.speaker_U, np.concatenate(chosen))
  if held_out.all():
    raise UserError(
      "config.split: no speaker is left to learn from; there are "
      f"{', '.join(np.unique(names.speaker_U).tolist())}"
    )
  rows = [np.flatnonzero(np.isin(names.speaker_U, who)) for who in chosen]
  learn = np.flatnonzero(~held_out)
  setting = f"unseen {', '.join(chosen[-1])}"
  yield setting, _split(split, names, validates, learn, rows[-1], rows[0])


def _named_speakers(split, names, field) -> list[str]:
  known = sorted(set(names.speaker_U.tolist()))
  chosen = [name.strip() for name in split[field].split(",") if name.strip()]
  unknown = [name for name in chosen if name not in known]
  if unknown or not chosen:
    problem = f"no speaker {', '.join(unknown)}" if unknown else "names nobody"
    raise UserError(
      f"config.split.{field} = {split[field]!r}: {problem}; there are "
      f"{', '.join(known)}"
    )
  return chosen


def _k_fold(split, names, validates) -> Iterator[tuple[str, Split]]:
  """Tests each of K groups of speakers in turn; the next group validates."""
  num_folds = split.num_folds
  if num_folds < 2 + validates:
    needs = (
      "one validates and the others train, so it takes three"
      if validates
      else "and the others are labelled, so it takes two"
    )
    raise UserError(
      f"config.split.num_folds = {num_folds}: one fold tests, {needs}"
    )
  speaker_U, corpus_U = names.speaker_U, names.corpus_U
  fold_U = np.zeros(len(speaker_U), int)
  for _, known in _speakers_by_corpus(speaker_U, corpus_U, num_folds):
    dealt = np.random.default_rng(split.seed).permutation(known)
    for fold, group in enumerate(np.array_split(dealt, num_folds)):
      fold_U[np.isin(speaker_U, group)] = fold
  for fold in range(num_folds):
    test_U = fold_U == fold
    validation_U = (fold_U == (fold + 1) % num_folds) & validates
    parts = (~test_U & ~validation_U, test_U, validation_U)
    rows = map(np.flatnonzero, parts)
    yield f"fold {fold + 1}", _split(split, names, validates, *rows)


def _leave_one_out(split, names, validates) -> Iterator[tuple[str, Split]]:
  """Tests each group in turn; a fifth of the others' speakers validate."""
  group_U = {
    "speaker": names.speaker_U,
    "session": names.session_U,
    "corpus": names.corpus_U,
  }[split.group]
  known = sorted(set(group_U.tolist()) - {""})
  if len(known) < 2:
    raise UserError(
      f"config.split.group = {split.group!r}: the data have {len(known)} of "
      f"them, and leaving one out takes two; choose another of "
      f"{', '.join(GROUPS)}"
    )
  for name in known:
    test = np.flatnonzero(group_U == name)
    learn = np.flatnonzero((group_U != name) & (group_U != ""))
    yield f"without {name}", _split(split, names, validates, learn, test)


def _by_sessions(split, names, validates) -> Iterator[tuple[str, Split]]:
  """Splits as Lian et al. do: TS 1234, 123, 134, 234 and 23.

  Each setting names the digits of the labelled sessions. A fifth of their
  speakers validate.
  """
  settings = [str(labelled) for labelled in split.labelled_sessions]
  if not settings or len(set(settings)) < len(settings):
    raise UserError(
      f"config.split.labelled_sessions = {split.labelled_sessions!r}: name "
      "each setting once, such as ('1234', '23')"
    )
  session_U = np.array(
    [
      session.removeprefix(f"{corpus}:")
      for session, corpus in zip(names.session_U, names.corpus_U, strict=True)
    ]
  )
  test = normalise_session(split.test_session)
  for labelled in settings:
    setting = f"TS {labelled}"
    chosen = [normalise_session(digit) for digit in labelled]
    where = (
      f"{setting} of config.split.labelled_sessions, tested on "
      f"config.split.test_session = {split.test_session!r}"
    )
    if not chosen or test in chosen:
      raise UserError(
        f"{where}: name labelled sessions, and another one for the test"
      )
    for corpus in np.unique(names.corpus_U):
      of_corpus = session_U[names.corpus_U == corpus]
      _require_sessions(f"{where}: {corpus}", of_corpus, [*chosen, test])
    learn_U, test_U = np.isin(session_U, chosen), session_U == test
    rows = np.flatnonzero(learn_U), np.flatnonzero(test_U)
    made = _split(split, names, validates, *rows)
    if not validates:
      made.parts["unlabelled"] = np.flatnonzero(~learn_U)
    yield setting, made


def _require_sessions(where: str, session_U: np.ndarray, wanted) -> None:
  known = sorted(set(session_U.tolist()) - {""})
  missing = [name for name in wanted if name not in known]
  if missing and known:
    raise UserError(
      f"{where}: no session {', '.join(missing)}; there are {', '.join(known)}"
    )
  if missing:
    raise UserError(
      f"{where}: the data have no sessions; give a session for each utterance, "
      "or choose another config.split.method"
    )


def _split(split, names, validates, learn, test, validation=None) -> Split:
  """Parts by name; what validates is drawn where it is not given."""
  if not validates:
    return Split({"labelled": learn, "unlabelled": test, "test": test})
  if validation is None:
    learn, validation = _hold_out(learn, names, split.seed)
  return Split({"train": learn, "validation": validation, "test": test})


def _hold_out(
  rows: np.ndarray, names: Names, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Parts `rows` into the rest and a fifth of the speakers of each corpus."""
  kept, held_out = [], []
  speaker_N, corpus_N = names.speaker_U[rows], names.corpus_U[rows]
  for corpus, _ in _speakers_by_corpus(speaker_N, corpus_N, 2):
    of_corpus = np.flatnonzero(corpus_N == corpus)
    shuffler = GroupShuffleSplit(1, test_size=_SHARE, random_state=seed)
    rest, out = next(shuffler.split(of_corpus, groups=speaker_N[of_corpus]))
    kept.append(rows[of_corpus[rest]])
    held_out.append(rows[of_corpus[out]])
  return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held_out))


def _speakers_by_corpus(
  speaker_U: np.ndarray, corpus_U: np.ndarray, least: int
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each corpus and its speakers, who have to be at least so many."""
  for corpus in np.unique(corpus_U):
    known = np.unique(speaker_U[corpus_U == corpus])
    if len(known) < least:
      raise UserError(
        f"{corpus}: {len(known)} speakers ({', '.join(known.tolist())}) where "
        f"this split needs {least}; add speakers, or choose another "
        f"config.split.method of {', '.join(METHODS)}"
      )
    yield str(corpus), known


def row_fingerprints(features: Mapping[str, np.ndarray]) -> list[str]:
  """One name for the same features, for each row, '' where they tell nothing.

  Two people may say the same words, so rows without audio (none in the table,
  or all zeros) are not taken for copies of each other.

  Args:
    features: [U, D] matrices by modality.
  """
  if "audio" not in features:
    return [""] * len(next(iter(features.values())))
  heard_U = features["audio"].any(axis=1)
  # Adding zero gives -0.0 the bytes of 0.0.
  matrices = [features[name] + 0.0 for name in sorted(features)]
  return [
    hashlib.sha256(b"".join(row.tobytes() for row in rows)).hexdigest()
    if heard
    else ""
    for heard, *rows in zip(heard_U, *matrices, strict=True)
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
    speakers: [U], unique over all corpora.
    dialogues: [U], unique over all corpora.
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
  return markdown.table(rows, num_names=len(rows[0]))
