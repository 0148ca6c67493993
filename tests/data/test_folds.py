"""Published folds: who is tested is who the authors say."""

import re

import numpy as np
import pytest

from configs import common
from emojax.data import splits
from emojax.errors import UserError

ACTORS = [f"{actor:02d}" for actor in range(1, 25)]
# papers/protocols.md, from the files of emo-box/EmoBox.
EMOBOX = {
  "fold 1": "01 11 20 21",
  "fold 2": "04 10 12 14",
  "fold 3": "08 09 19 23",
  "fold 4": "03 05 07 24",
  "fold 5": "02 15 16 18",
  "fold 6": "06 13 17 22",
}


def names_of(speakers, corpus="ravdess"):
  speaker_U = np.repeat(speakers, 2)
  count = len(speaker_U)
  corpus_U = np.full(count, corpus) if isinstance(corpus, str) else corpus
  return splits.Names(speaker_U, np.full(count, ""), corpus_U)


def make(names, validates=True, **fields):
  split = common.split()
  split.update(fields)
  made = splits.make(split, names, validates)
  return {setting: one.parts for setting, one in made.items()}


def speakers(names, rows):
  return sorted(set(names.speaker_U[rows].tolist()))


@pytest.mark.parametrize("validates", [True, False])
def test_the_folds_of_emobox(validates):
  names = names_of(ACTORS)
  made = make(names, validates, method="emobox")
  found = {fold: speakers(names, p["test"]) for fold, p in made.items()}
  assert {fold: " ".join(who) for fold, who in found.items()} == EMOBOX
  for fold, parts in made.items():
    rest = sorted(set(ACTORS) - set(found[fold]))
    if validates:
      assert [len(speakers(names, parts[p])) for p in parts] == [16, 4, 4]
      whole = [*speakers(names, parts["train"])]
      assert sorted(whole + speakers(names, parts["validation"])) == rest
    else:
      assert speakers(names, parts["labelled"]) == rest
      np.testing.assert_array_equal(parts["unlabelled"], parts["test"])


def test_folds_of_which_actors_are_missing(caplog):
  names = names_of(ACTORS[:10])
  made = make(names, method="emobox")
  assert speakers(names, made["fold 2"]["test"]) == ["04", "10"]
  assert "14 of 24 actors are not there (11, 12, " in caplog.text


@pytest.mark.parametrize(
  ("names", "reason"),
  [
    (names_of(ACTORS, "emodb"), "alone, and the data are emodb; choose"),
    (
      names_of(ACTORS, np.repeat(["demo", "ravdess"], 24)),
      "the data are demo, ravdess",
    ),
    (names_of(["1", *ACTORS[1:]]), "01 to 24 of RAVDESS; no 1$"),
    (
      names_of([*ACTORS[:5], "10", "11"]),
      re.escape("fold 3 tests the actors 08, 09, 19, 23, and none of them"),
    ),
  ],
)
def test_folds_of_others(names, reason):
  with pytest.raises(UserError, match=reason):
    make(names, method="emobox")
