"""Training, validation and test parts that share no speaker.

Each corpus is split by itself and the parts are merged afterwards ("split,
then merge"), so that every corpus is in every part. Speakers are told apart
by corpus.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from emojax.data.splits import Split
from emojax.errors import UserError

METHODS = ("shuffle", "speakers", "k_fold", "leave_one_out")
GROUPS = ("speaker", "session", "corpus")
_SHARE = 0.2  # Of the speakers that are held out.


def shuffle(speakers_U: np.ndarray, corpora_U: np.ndarray, seed: int) -> Split:
  """Holds out a fifth of the speakers of each corpus.

  With the seed 42 the test speakers are the held-out ones of the published
  speech emotion classifier, `GroupShuffleSplit(0.2, 42)`. It took its best
  epoch on them; here the validation part is a fifth of the other speakers.

  Args:
    speakers_U: names, unique over all corpora.
    corpora_U: names.
    seed: of the shuffling.

  Raises:
    UserError: a corpus has fewer than three speakers.
  """
  for corpus, names in _speakers_by_corpus(speakers_U, corpora_U):
    _require(corpus, names, 3)
  rest, test = _hold_out(
    np.arange(len(speakers_U)), speakers_U, corpora_U, seed
  )
  train, validation = _hold_out(rest, speakers_U, corpora_U, seed)
  return _split(train, validation, test)


def by_names(
  speakers_U: np.ndarray, validation_speakers: str, test_speakers: str
) -> Split:
  """Validates and tests on speakers that are named; all others train.

  Args:
    speakers_U: names.
    validation_speakers: names separated by commas.
    test_speakers: likewise.

  Raises:
    UserError: an unknown speaker, none, one in both, none left to learn from.
  """
  known = sorted(set(speakers_U.tolist()))
  chosen = {}
  for part, text in (
    ("validation", validation_speakers),
    ("test", test_speakers),
  ):
    names = [name.strip() for name in text.split(",") if name.strip()]
    where = f"config.split.{part}_speakers = {text!r}"
    unknown = [name for name in names if name not in known]
    if unknown or not names:
      problem = (
        f"no speaker {', '.join(unknown)}" if unknown else "names nobody"
      )
      raise UserError(f"{where}: {problem}; there are {', '.join(known)}")
    chosen[part] = set(names)
  both = sorted(chosen["validation"] & chosen["test"])
  if both:
    raise UserError(
      f"config.split: {', '.join(both)} validates and tests; name each speaker "
      "once"
    )
  if chosen["validation"] | chosen["test"] == set(known):
    raise UserError(
      f"config.split: none of the {len(known)} speakers is left to learn from"
    )
  validation = np.isin(speakers_U, sorted(chosen["validation"]))
  test = np.isin(speakers_U, sorted(chosen["test"]))
  return _split(
    np.flatnonzero(~validation & ~test),
    np.flatnonzero(validation),
    np.flatnonzero(test),
  )


def k_fold(
  speakers_U: np.ndarray, corpora_U: np.ndarray, num_folds: int, seed: int
) -> list[Split]:
  """Tests each of K groups of speakers in turn; the next group validates.

  Args:
    speakers_U: names, unique over all corpora.
    corpora_U: names.
    num_folds: K, at least 3.
    seed: of the dealing of speakers to groups.

  Raises:
    UserError: a corpus has fewer than K speakers, or K is below 3.
  """
  if num_folds < 3:
    raise UserError(
      f"config.split.num_folds = {num_folds}: one fold tests, one validates "
      "and the others train, so it takes three"
    )
  fold_U = np.zeros(len(speakers_U), int)
  for corpus, names in _speakers_by_corpus(speakers_U, corpora_U):
    _require(corpus, names, num_folds)
    dealt = np.random.default_rng(seed).permutation(names)
    for fold, group in enumerate(np.array_split(dealt, num_folds)):
      fold_U[np.isin(speakers_U, group)] = fold
  splits = []
  for fold in range(num_folds):
    test, validation = fold_U == fold, fold_U == (fold + 1) % num_folds
    splits.append(
      _split(
        np.flatnonzero(~test & ~validation),
        np.flatnonzero(validation),
        np.flatnonzero(test),
      )
    )
  return splits


def leave_one_out(
  groups_U: np.ndarray,
  speakers_U: np.ndarray,
  corpora_U: np.ndarray,
  seed: int,
) -> dict[str, Split]:
  """Tests each group (a speaker, a session, a corpus) in turn.

  A fifth of the speakers of the other groups validate.

  Args:
    groups_U: the group of each utterance, '' where there is none.
    speakers_U: names, unique over all corpora.
    corpora_U: names.
    seed: of the shuffling.

  Returns:
    A split for each group, by its name.

  Raises:
    UserError: there are fewer than two groups, or too few speakers are left.
  """
  names = sorted(set(groups_U.tolist()) - {""})
  if len(names) < 2:
    raise UserError(
      f"config.split.group: the data have {len(names)} of them, and leaving "
      f"one out takes two; choose another of {', '.join(GROUPS)}"
    )
  splits = {}
  for name in names:
    test = np.flatnonzero(groups_U == name)
    rest = np.flatnonzero((groups_U != name) & (groups_U != ""))
    train, validation = _hold_out(rest, speakers_U, corpora_U, seed)
    splits[name] = _split(train, validation, test)
  return splits


def _hold_out(
  rows: np.ndarray, speakers_U: np.ndarray, corpora_U: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Parts `rows` into the rest and a fifth of the speakers of each corpus."""
  kept, held_out = [], []
  for corpus, names in _speakers_by_corpus(speakers_U[rows], corpora_U[rows]):
    _require(corpus, names, 2)
    of_corpus = rows[corpora_U[rows] == corpus]
    shuffler = GroupShuffleSplit(1, test_size=_SHARE, random_state=seed)
    rest, out = next(shuffler.split(of_corpus, groups=speakers_U[of_corpus]))
    kept.append(of_corpus[rest])
    held_out.append(of_corpus[out])
  return np.concatenate(kept), np.concatenate(held_out)


def _speakers_by_corpus(
  speakers_U: np.ndarray, corpora_U: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
  for corpus in np.unique(corpora_U):
    yield str(corpus), np.unique(speakers_U[corpora_U == corpus])


def _require(corpus: str, names: np.ndarray, count: int) -> None:
  if len(names) < count:
    raise UserError(
      f"{corpus}: {len(names)} speakers ({', '.join(names.tolist())}) where "
      f"this split needs {count} that nobody else is; add speakers, or choose "
      f"another config.split.method of {', '.join(METHODS)}"
    )


def _split(train, validation, test) -> Split:
  return Split(
    {
      "train": np.sort(train),
      "validation": np.sort(validation),
      "test": np.sort(test),
    }
  )
