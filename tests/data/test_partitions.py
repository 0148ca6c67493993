"""Who trains, validates and tests: nobody twice."""

import numpy as np
import pytest

from emojax.data import partitions
from emojax.errors import UserError

ACTORS = np.array([f"{actor:02d}" for actor in range(1, 25)])
CREMA_D = np.array([str(actor) for actor in range(1001, 1092)])


def clips_of(*corpora, each=3):
  """Speakers and corpora of clips: `each` of every speaker."""
  speakers = np.concatenate([np.repeat(names, each) for names in corpora])
  corpus = np.concatenate(
    [np.full(each * len(names), f"c{i}") for i, names in enumerate(corpora)]
  )
  return speakers, corpus


def names(speakers, rows):
  return set(speakers[rows].tolist())


def test_published_test_speakers():
  # papers/notes.md, from the public repository's own call of scikit-learn.
  for corpus, expected in (
    (ACTORS, "01 09 12 17 19"),
    (
      CREMA_D,
      "1001 1005 1011 1013 1019 1023 1027 1029 1036 1040 1041 1045 1050 1056 "
      "1063 1067 1071 1086 1089",
    ),
  ):
    speakers, corpora = clips_of(corpus)
    split = partitions.shuffle(speakers, corpora, 42)
    assert names(speakers, split.parts["test"]) == set(expected.split())


def test_split_then_merged():
  speakers, corpora = clips_of(ACTORS, CREMA_D)
  parts = partitions.shuffle(speakers, corpora, 42).parts
  rows = np.concatenate(list(parts.values()))
  np.testing.assert_array_equal(np.sort(rows), np.arange(len(speakers)))
  who = [names(speakers, part) for part in parts.values()]
  assert sum(map(len, who)) == len(ACTORS) + len(CREMA_D)
  for part in parts.values():
    assert set(corpora[part]) == {"c0", "c1"}
  alone, _ = clips_of(ACTORS)
  by_itself = partitions.shuffle(alone, np.full(len(alone), "c0"), 42)
  test = parts["test"][corpora[parts["test"]] == "c0"]
  np.testing.assert_array_equal(test, by_itself.parts["test"])


def test_named_speakers():
  speakers, _ = clips_of(ACTORS[:4])
  parts = partitions.by_names(speakers, "02", "03, 04").parts
  assert [names(speakers, rows) for rows in parts.values()] == [
    {"01"},
    {"02"},
    {"03", "04"},
  ]


@pytest.mark.parametrize(
  ("validation", "test", "reason"),
  [
    ("", "01", "validation_speakers = '': names nobody"),
    ("02", "99", "no speaker 99; there are 01, 02, 03"),
    ("02", "02", "02 validates and tests"),
    ("02,03", "01", "none of the 3 speakers is left"),
  ],
)
def test_wrong_names(validation, test, reason):
  speakers, _ = clips_of(ACTORS[:3])
  with pytest.raises(UserError, match=reason):
    partitions.by_names(speakers, validation, test)


def test_every_speaker_is_tested_in_one_fold():
  speakers, corpora = clips_of(ACTORS, CREMA_D)
  folds = partitions.k_fold(speakers, corpora, 5, 0)
  for part in ("validation", "test"):
    rows = np.concatenate([fold.parts[part] for fold in folds])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(speakers)))
  for fold in folds:
    who = [names(speakers, rows) for rows in fold.parts.values()]
    assert sum(map(len, who)) == len(ACTORS) + len(CREMA_D)
    assert set(corpora[fold.parts["test"]]) == {"c0", "c1"}


def test_each_group_is_left_out_once():
  speakers, corpora = clips_of(ACTORS, CREMA_D)
  splits = partitions.leave_one_out(corpora, speakers, corpora, 42)
  assert list(splits) == ["c0", "c1"]
  for name, split in splits.items():
    assert set(corpora[split.parts["test"]]) == {name}
    rest = [split.parts["train"], split.parts["validation"]]
    assert name not in corpora[np.concatenate(rest)]
    assert not names(speakers, rest[0]) & names(speakers, rest[1])


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_speakers(count):
  speakers, corpora = clips_of(ACTORS[:count])
  with pytest.raises(UserError, match=f"c0: {count} speakers .*needs 3"):
    partitions.shuffle(speakers, corpora, 42)


def test_folds_that_are_too_many_or_too_few():
  speakers, corpora = clips_of(ACTORS[:4])
  with pytest.raises(UserError, match=r"c0: 4 speakers .* needs 5"):
    partitions.k_fold(speakers, corpora, 5, 0)
  with pytest.raises(UserError, match="it takes three"):
    partitions.k_fold(speakers, corpora, 2, 0)
  with pytest.raises(UserError, match="leaving one out takes two"):
    partitions.leave_one_out(corpora, speakers, corpora, 0)
