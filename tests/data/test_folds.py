"""Folds of the labelled part: speakers held out, the test never touched."""

import numpy as np
import pytest

from emojax.data import folds, splits
from emojax.errors import UserError

# Five sessions of two speakers, as in IEMOCAP; four utterances of each.
SESSION = np.repeat(list("12345"), 8)
SPEAKER = np.char.add(SESSION, np.tile(["F", "M"], 20))
NO_SESSION = np.full(40, "")


def check(split, found):
  """What has to hold for all folds of a split."""
  labelled = split.parts["labelled"]
  held_out = [fold.parts["test"] for fold in found]
  assert sorted(np.concatenate(held_out)) == sorted(labelled)  # Each once.
  for fold in found:
    parts = fold.parts
    everything = np.concatenate([parts["labelled"], parts["unlabelled"]])
    assert sorted(everything) == list(range(len(SPEAKER)))
    assert set(parts["test"]) <= set(parts["unlabelled"])
    # The test part of the study gives no label: neither to learn from nor to
    # choose by.
    assert not set(parts["labelled"]) & set(split.parts["test"])
    assert not set(parts["test"]) & set(split.parts["test"])
    assert not set(SPEAKER[parts["labelled"]]) & set(SPEAKER[parts["test"]])


@pytest.mark.parametrize("setting", ["1234", "123", "134", "234", "23"])
def test_each_labelled_session_is_held_out_once(setting):
  split = splits.by_sessions(SESSION, setting, "5")
  found = folds.inner_folds(split, SESSION, SPEAKER, 5)
  held_out = ["".join(set(SESSION[f.parts["test"]])) for f in found]
  assert "".join(held_out) == setting
  check(split, found)


def test_fewer_folds_hold_out_several_sessions():
  split = splits.by_sessions(SESSION, "1234", "5")
  found = folds.inner_folds(split, SESSION, SPEAKER, 2)
  held_out = [set(SESSION[f.parts["test"]]) for f in found]
  assert held_out == [{"1", "2"}, {"3", "4"}]
  check(split, found)


@pytest.mark.parametrize(("num_folds", "expected"), [(3, 3), (5, 5), (20, 8)])
def test_speakers_are_held_out_where_there_are_no_sessions(num_folds, expected):
  split = splits.by_speakers(SPEAKER, "1F,5M")
  found = folds.inner_folds(split, NO_SESSION, SPEAKER, num_folds)
  assert len(found) == expected
  counts = [len(set(SPEAKER[f.parts["test"]])) for f in found]
  assert max(counts) - min(counts) <= 1
  check(split, found)


def test_speakers_are_held_out_where_the_labelled_part_has_one_session():
  split = splits.by_sessions(SESSION, "2", "5")
  found = folds.inner_folds(split, SESSION, SPEAKER, 5)
  assert [set(SPEAKER[f.parts["test"]]) for f in found] == [{"2F"}, {"2M"}]
  check(split, found)


def test_speakers_are_held_out_where_they_come_to_several_sessions():
  """A held-out session would leave its speakers among the labelled ones."""
  sessions = np.tile(["1", "2"], 20)
  sessions[::3] = "3"
  split = splits.by_speakers(SPEAKER, "1F,5M")
  check(split, folds.inner_folds(split, sessions, SPEAKER, 4))


def test_one_labelled_speaker_is_too_few():
  split = splits.by_speakers(np.array(["A", "A", "B"]), "B")
  with pytest.raises(UserError, match="only A is labelled") as caught:
    folds.inner_folds(split, np.full(3, ""), np.array(["A", "A", "B"]), 5)
  assert "config.stabilised.enabled=False" in str(caught.value)
