"""Who learns, who validates and who is tested; `split_audit` proves it.

Parts are made of whole speakers. Each corpus is split by itself and the parts
are merged afterwards ("split, then merge"), so that every corpus is in every
part, unless speakers, sessions or corpora are named or left out. Who speaks
with others is in a part where all of them are, and else in none. U utterances,
all corpora together.
"""

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import checks, spelling
from emojax.corpora import records
from emojax.corpora.records import normalise_session
from emojax.data import folds, sessions
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

METHODS = (
  *("shuffle", "speakers", "k_fold", "leave_one_out", "sessions"),
  *("emobox", "folds", "in_turn", "official"),
)
GROUPS = ("speaker", "session", "corpus")
UNSEEN = "unseen "  # How settings begin that are named after test speakers.
# Fields of a `config.split` that some methods only read.
_FIELDS = {
  "test_speakers": ("speakers", "in_turn"),
  "validation_speakers": ("speakers",),
  "labelled_sessions": ("sessions",),
  "folds": ("folds",),
}
# Others have made these parts: whoever is in two of them is named, or refused.
_AS_THEY_ARE = ("folds", "official")

_LISTED = 100  # Speakers that an error names.
_SHARE = 0.2  # Of the speakers that are held out.


@dataclasses.dataclass(frozen=True)
class Split:
  """Sorted rows [N] by the name of the part, see `make`."""

  parts: dict[str, np.ndarray]
  official: bool = False  # Of the authors of the corpus, whoever is in two.


@dataclasses.dataclass(frozen=True)
class Names:
  """What a split is made by; anything else with these attributes does too."""

  speaker_U: np.ndarray  # Unique over all corpora, see `records.merge`.
  session_U: np.ndarray  # '' where there is none.
  corpus_U: np.ndarray
  path_U: np.ndarray | None = None  # Of recordings; '' where not known.


def make(
  split: ml_collections.ConfigDict, names: Names, validates: bool
) -> dict[str, Split]:
  """The splits that a config asks for, by the names of their settings.

  Args:
    split: a `config.split`.
    names: of all utterances.
    validates: the parts are 'train', 'validation' and 'test', else 'labelled',
      'unlabelled' (as the test part, or all other sessions) and 'test'.

  Raises:
    UserError: a misspelt method or group, a field that the method or the study
      does not read; names that the data do not have, or too few of them.
  """
  check(split)
  if split.validation_speakers and not validates:
    raise UserError(
      f"config.split.validation_speakers = {split.validation_speakers!r}: this "
      "study has no validation part, it holds out labelled speakers in turn; "
      "set the field empty"
    )
  choosers = (
    *(_shuffle, _by_speakers, _k_fold, _leave_one_out, _by_sessions),
    *(_emobox, _by_files, _in_turn, _official),
  )
  choose = dict(zip(METHODS, choosers, strict=True))[split.method]
  made = {}
  for setting, learn_U, test_U, third_U in choose(split, names, validates):
    if not validates:
      third_U = test_U if third_U is None else third_U
      parts = {"labelled": learn_U, "unlabelled": third_U, "test": test_U}
    else:
      if third_U is None:
        third_U = _hold_out(learn_U, names, split.seed)
        learn_U = learn_U & ~third_U
      parts = {"train": learn_U, "validation": third_U, "test": test_U}
    rows = {part: np.flatnonzero(of_part) for part, of_part in parts.items()}
    if split.method not in _AS_THEY_ARE:
      rows = _apart(rows, names, setting)
    made[setting] = Split(rows, split.method == "official")
  return made


def check(split: ml_collections.ConfigDict) -> None:
  """Raises UserError where a name is misspelt, or a field is not read."""
  checks.choice({"split": split}, "split.method", METHODS)
  checks.choice({"split": split}, "split.group", GROUPS)
  for field, methods in _FIELDS.items():
    if split[field] and split.method not in methods:
      raise UserError(
        f"config.split.{field} = {split[field]!r} goes with "
        f"config.split.method = {' or '.join(map(repr, methods))}, not with "
        f"{split.method!r}: choose that method, or set the field empty"
      )


def may_name_people(split: Mapping[str, Any]) -> bool:
  """Whether the settings of a `config.split` may be named after speakers.

  A user's sessions and fold files may be, too.
  """
  if split["method"] == "leave_one_out":
    return split["group"] != "corpus"
  if split["method"] == "sessions":
    digits = "".join(map(str, split["labelled_sessions"])).replace(",", "")
    return not digits.isdigit()
  return split["method"] in ("speakers", "in_turn", "folds")


def inner_folds(split: Split, names: Names, num_folds: int) -> list[Split]:
  """Cross-validation inside the labelled part: test labels are never read.

  Each fold holds out labelled speakers, who become its test part and join the
  unlabelled part. Whole sessions are held out where the labelled part has
  several, each with speakers of its own, else groups of speakers. There are
  `num_folds`, or one a session or speaker where these are fewer.

  Raises:
    UserError: the labelled part has one speaker only.
  """
  labelled, unlabelled = split.parts["labelled"], split.parts["unlabelled"]
  session_N, speakers = names.session_U[labelled], names.speaker_U[labelled]
  pairs = set(zip(session_N.tolist(), speakers.tolist(), strict=True))
  meetings = {(where, who) for where, s in pairs for who in records.people(s)}
  # A speaker who comes to two sessions would be held out and labelled at once.
  apart = len(meetings) == len({who for _, who in meetings})
  by_session = apart and len(np.unique(session_N)) > 1
  known = np.unique(session_N) if by_session else _single(speakers)
  if len(known) < 2:
    raise UserError(
      f"only {known[0]} is labelled: choosing the stabilised recipe needs two "
      "speakers; label more, or set config.stabilised.enabled=False"
    )
  found = []
  for group in np.array_split(known, min(num_folds, len(known))):
    in_group = np.isin(session_N, group)
    if not by_session:
      in_group = _spoken_by(group, speakers)
    test = labelled[in_group]
    learn, unseen = np.setdiff1d(labelled, test), np.union1d(unlabelled, test)
    parts = {"labelled": learn, "unlabelled": unseen, "test": test}
    found.append(Split(_apart(parts, names)))
  return found


def _single(speaker_N: np.ndarray) -> np.ndarray:
  """Those who speak alone, sorted."""
  known = np.unique(speaker_N)
  return known[[len(records.people(who)) == 1 for who in known.tolist()]]


def _spoken_by(who: Sequence[str], speaker_N: np.ndarray) -> np.ndarray:
  """Whether only these people speak, a mask [N]."""
  known, place_N = np.unique(speaker_N, return_inverse=True)
  allowed = set(map(str, who))
  spoken = [allowed.issuperset(records.people(one)) for one in known.tolist()]
  return np.array(spoken, bool)[place_N]


def _apart(
  parts: Mapping[str, np.ndarray], names: Names, setting: str = ""
) -> dict[str, np.ndarray]:
  """Leaves out utterances of several speakers who are in several parts.

  How many, a warning says where the `setting` has a name.
  """
  alone: dict[str, set[str]] = {}
  seen: dict[str, set[str]] = {}
  for part, rows in parts.items():
    # Who is unlabelled may be tested, see `split_audit`.
    side = "test" if part == "unlabelled" else part
    for speaker in np.unique(names.speaker_U[rows]).tolist():
      people = records.people(speaker)
      for who in people:
        of_kind = alone if len(people) == 1 else seen
        of_kind.setdefault(who, set()).add(side)
  seen |= alone  # Where one speaks alone is where one is.
  between = [
    speaker
    for speaker in np.unique(names.speaker_U).tolist()
    if len(people := records.people(speaker)) > 1
    and len(set().union(*(seen.get(who, ()) for who in people))) > 1
  ]
  if not between:
    return dict(parts)
  out_U = np.isin(names.speaker_U, between)
  if setting:
    _LOG.warning(
      "%s: utterances of several speakers, who are in several parts, are in "
      "none: %d of %d, such as of %s",
      *(setting, out_U.sum(), len(out_U), between[0]),
    )
  return {part: rows[~out_U[rows]] for part, rows in parts.items()}


# Each of these yields settings: who learns, who is tested, and who validates or
# is unlabelled (None is the usual), as masks [U].
_Settings = Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]


def _shuffle(split, names: Names, validates: bool) -> _Settings:
  """Holds out a fifth of the speakers of each corpus.

  With the seed 42 the test speakers are the held-out ones of the published
  speech emotion classifier, `GroupShuffleSplit(0.2, 42)`. It took its best
  epoch on them; here the validation part is a fifth of the other speakers.
  """
  everybody_U = np.full(len(names.speaker_U), True)
  tuple(_speakers_by_corpus(everybody_U, names, 2 + validates))  # Enough?
  test_U = _hold_out(everybody_U, names, split.seed)
  yield f"{UNSEEN}speakers", ~test_U, test_U, None


def _by_speakers(split, names: Names, validates: bool) -> _Settings:
  """Tests, and validates, on speakers that are named; the others teach."""
  fields = ("validation_speakers", "test_speakers")[not validates :]
  chosen = [_chosen(split, field, names) for field in fields]
  both = sorted(set(chosen[0]) & set(chosen[-1])) if validates else []
  if both:
    raise UserError(
      f"config.split: {', '.join(both)} validates and tests; name each speaker "
      "once"
    )
  masks = [_spoken_by(who, names.speaker_U) for who in chosen]
  learn_U = ~np.any(masks, axis=0)
  if not learn_U.any():
    raise UserError(
      "config.split: no speaker is left to learn from; there are "
      f"{_listed(_single(names.speaker_U).tolist())}"
    )
  yield f"{UNSEEN}{', '.join(chosen[-1])}", learn_U, masks[-1], masks[0]


def _chosen(split, field: str, names: Names) -> list[str]:
  """The speakers that a field names, as the data spell them."""
  known = _single(names.speaker_U).tolist()
  where = f"config.split.{field} = {split[field]!r}"
  who = _named(split[field], known)
  spelt = spelling.unify([*known, *who], f"{where}: speaker")
  unknown = ", ".join(name for name in who if spelt[name] not in known)
  if unknown or not who:
    problem = f"no speaker {unknown}" if unknown else "names nobody"
    raise UserError(
      f"{where}: {problem}; there are {_listed(known)}; a name that holds a "
      "comma stands in double quotes"
    )
  return [spelt[name] for name in who]


def _in_turn(split, names: Names, validates: bool) -> _Settings:
  """Each of some speakers is unlabelled, and tested in a session of its own.

  In all other sessions everyone else is labelled; of the test session only the
  speaker's utterances are in a part.
  """
  tested_U = _sessions(names) == normalise_session(split.test_session)
  for who in _chosen(split, "test_speakers", names):
    own_U = names.speaker_U == who
    if not (own_U & tested_U).any() or not (own_U & ~tested_U).any():
      raise UserError(
        f"config.split.test_speakers: {who} has to speak in the session "
        f"config.split.test_session = {split.test_session!r} and in another; "
        "name others"
      )
    third_U = None if validates else own_U & ~tested_U
    yield f"{UNSEEN}{who}", ~own_U & ~tested_U, own_U & tested_U, third_U


def _sessions(names: Names) -> np.ndarray:
  """Names of the sessions without those of their corpora, [U]."""
  places = zip(names.session_U, names.corpus_U, strict=True)
  return np.array([s.removeprefix(f"{corpus}:") for s, corpus in places])


def _named(text: str, known: Sequence[str]) -> list[str]:
  """The names in a config's text; all of it where that alone is a speaker."""
  who = list(filter(None, checks.names(text)))
  keys = set(map(spelling.key, known))
  if spelling.key(text) in keys and not keys.issuperset(map(spelling.key, who)):
    return [text]
  return who


def _listed(names: Sequence[str]) -> str:
  """Names as `checks.names` reads them, of very many the first."""
  shown = [f'"{name}"' if "," in name else name for name in names[:_LISTED]]
  more = len(names) - len(shown)
  return ", ".join(shown) + (f" and {more} others" if more else "")


def _k_fold(split, names: Names, validates: bool) -> _Settings:
  """Tests each of K groups of speakers in turn; the next group validates."""
  num_folds = split.num_folds
  if num_folds < 2 + validates:
    needs = "and the others are labelled, so it takes two"
    if validates:
      needs = "one validates and the others train, so it takes three"
    raise UserError(
      f"config.split.num_folds = {num_folds}: one fold tests, {needs}"
    )
  fold_U = np.full(len(names.speaker_U), -1)
  for _, known in _speakers_by_corpus(fold_U < 0, names, num_folds):
    dealt = np.random.default_rng(split.seed).permutation(known)
    for fold, group in enumerate(np.array_split(dealt, num_folds)):
      fold_U[_spoken_by(group, names.speaker_U)] = fold
  for fold in range(num_folds):
    test_U = fold_U == fold
    validation_U = fold_U == (fold + 1) % num_folds if validates else test_U
    yield f"fold {fold + 1}", ~test_U & ~validation_U, test_U, validation_U


def _leave_one_out(split, names: Names, validates: bool) -> _Settings:
  """Tests each group in turn; a fifth of the others' speakers validate."""
  group_U = getattr(names, f"{split.group}_U")
  known = sorted(set(group_U.tolist()) - {""})
  if split.group == "speaker":
    known = _single(group_U).tolist()
  for corpus in np.unique(names.corpus_U) if known else ():
    if not (group_U[names.corpus_U == corpus] != "").any():
      raise UserError(
        f"config.split.group = {split.group!r}: {corpus or 'the data'} has "
        "none, and would be in no part: give one for each utterance, leave "
        "the corpus out, or choose another group"
      )
  if stray := int(np.sum(group_U == "")):
    _LOG.warning(
      "config.split.group = %r: utterances without one are in no part: %d of "
      "%d",
      *(split.group, stray, len(group_U)),
    )
  if len(known) < 2:
    raise UserError(
      f"config.split.group = {split.group!r}: the data have {len(known)} of "
      "them, and leaving one out takes two; choose another of "
      f"{', '.join(GROUPS)}"
    )
  # Whoever publishes a setting may have to hide a speaker's name.
  begins = UNSEEN if split.group == "speaker" else "without "
  for name in known:
    test_U = group_U == name
    yield f"{begins}{name}", ~test_U & (group_U != ""), test_U, None


def _by_sessions(split, names: Names, validates: bool) -> _Settings:
  """Labelled sessions against one; a fifth of their speakers validate."""
  session_U = _sessions(names)
  for setting, learn_U, test_U in sessions.settings(
    split.labelled_sessions, split.test_session, session_U, names.corpus_U
  ):
    yield setting, learn_U, test_U, None if validates else ~learn_U


def _official(split, names: Names, validates: bool) -> _Settings:
  """The parts of a corpus' authors, which its sessions are."""
  del split
  part_U = sessions.official(_sessions(names), names.corpus_U)
  third_U = part_U == "validation"
  learn_U = part_U == "train"
  if validates:
    yield "official parts", learn_U, part_U == "test", third_U
  else:
    yield "official parts", learn_U | third_U, part_U == "test", None


def _emobox(split, names: Names, validates: bool) -> _Settings:
  """Tests the actors of each published fold of RAVDESS in turn.

  A fifth of the other actors validate.
  """
  del split, validates
  return folds.emobox(names.corpus_U, names.speaker_U)


def _by_files(split, names: Names, validates: bool) -> _Settings:
  """Tests each fold of `config.split.folds`, see `folds.of_files`.

  Where it names no validation part, a fifth of the training speakers validate;
  where nobody validates, those that it names are labelled.
  """
  for fold, learn_U, test_U, third_U in folds.of_files(
    split.folds, names.path_U
  ):
    if third_U is not None and not validates:
      learn_U, third_U = learn_U | third_U, None
    yield fold, learn_U, test_U, third_U


def _hold_out(rest_U: np.ndarray, names: Names, seed: int) -> np.ndarray:
  """A fifth of the speakers of each corpus, of those in a mask: a mask [U].

  Nobody of a corpus of whom one is left, where others have more.
  """
  held_out_U = np.zeros_like(rest_U)
  found = dict(_speakers_by_corpus(rest_U, names, 0))
  if max(map(len, found.values()), default=0) < 2:
    found = dict(_speakers_by_corpus(rest_U, names, 2))  # Says what is missing.
  for corpus, known in found.items():
    if len(known) < 2:
      _LOG.warning(
        "%s: nobody validates: %d speaker is left", corpus, len(known)
      )
      continue
    rows = np.flatnonzero(rest_U & (names.corpus_U == corpus))
    # As scikit-learn draws them, whose import takes seconds.
    order = np.random.RandomState(seed).permutation(len(known))
    out = order[: math.ceil(_SHARE * len(known))]
    held_out_U[rows[_spoken_by(known[out], names.speaker_U[rows])]] = True
  return held_out_U


def _speakers_by_corpus(
  mask_U: np.ndarray, names: Names, least: int
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each corpus and its speakers, who have to be at least so many."""
  for corpus in np.unique(names.corpus_U[mask_U]):
    known = _single(names.speaker_U[mask_U & (names.corpus_U == corpus)])
    if len(known) < least:
      raise UserError(
        f"{corpus or 'the data'}: {len(known)} speakers "
        f"({', '.join(known.tolist())}) where this split needs {least}; "
        "add speakers, or choose another "
        f"config.split.method of {', '.join(METHODS)}"
      )
    yield str(corpus), known
