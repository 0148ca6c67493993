"""Folds of others: who is tested is who they say."""

import re

import numpy as np
import pytest

from configs import common
from emojax.data import split_audit, splits
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
    (names_of(ACTORS, "emodb"), "alone, .* emodb; .*FILE.csv"),
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


def corpus(tmp_path, *paths, suffix=".ogg"):
  """Names of clips on disk: the speaker is the folder."""
  found = [tmp_path / "data" / f"{path}{suffix}" for path in paths]
  for path in found:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  speaker_U = np.array([path.parent.name for path in found])
  unknown = np.full(len(found), "")
  return splits.Names(
    speaker_U, unknown, unknown, np.array(list(map(str, found)))
  )


def by_file(tmp_path, names, *rows, validates=True):
  path = tmp_path / "folds.csv"
  path.write_text("\n".join(["path,part,fold", *rows]), encoding="utf-8")
  made = make(names, validates, method="folds", folds=str(path))
  return {
    fold: {part: rows.tolist() for part, rows in parts.items()}
    for fold, parts in made.items()
  }


def test_two_folds_of_a_file(tmp_path, caplog):
  names = corpus(tmp_path, "A/1", "A/2", "B/1", "C/1", "D/1")
  rows = ["downloads/A/1.wav,train,1", "downloads/A/2.wav,train,1"]
  rows += ["data/B/1.ogg,valid,1", "c\\1.WAV,test,1", "D/1,test,1"]
  rows += ["D/1,train,2", "downloads/A/1.wav,dev,2", "data/B/1.ogg,test,2"]
  assert by_file(tmp_path, names, *rows) == {
    "fold 1": {"train": [0, 1], "validation": [2], "test": [3, 4]},
    "fold 2": {"train": [4], "validation": [0], "test": [2]},
  }
  (said,) = caplog.messages
  assert "left out of it: 2 in fold 2; the first: " in said
  assert said.endswith(str(names.path_U[1]))
  # Who validates is labelled where nobody does.
  made = by_file(tmp_path, names, *rows, validates=False)["fold 1"]
  assert made == {"labelled": [0, 1, 2], "unlabelled": [3, 4], "test": [3, 4]}


def test_a_fifth_validates_where_a_file_names_nobody(tmp_path, caplog):
  clips = [f"{actor}/{name}" for actor in ACTORS[:6] for name in "ab"]
  names = corpus(tmp_path, *clips)
  rows = [
    f"{clip}.wav,{'test' if '06' in clip else 'train'},1" for clip in clips
  ]
  (parts,) = by_file(tmp_path, names, *rows).values()
  assert parts["test"] == [10, 11]
  who = [speakers(names, parts[part]) for part in ("train", "validation")]
  assert sorted(who[0] + who[1]) == ACTORS[:5]
  assert len(who[1]) == 1
  assert not caplog.messages


def test_the_published_files_are_the_published_folds(tmp_path):
  names = corpus(tmp_path, *(f"{a}/03-01-02-01-01-01-{a}" for a in ACTORS))
  folder = tmp_path / "ravdess"
  for fold, test in EMOBOX.items():
    place = folder / fold.replace(" ", "_")
    place.mkdir(parents=True)
    for part in ("train", "test"):
      lines = [
        f'{{"wav": "downloads/Actor_{a}/03-01-02-01-01-01-{a}.wav"}}'
        for a in ACTORS
        if (a in test) == (part == "test")
      ]
      file = place / f"ravdess_{part}_fold_{fold[-1]}.jsonl"
      file.write_text("\n".join(lines), encoding="utf-8")
  made = make(names, method="folds", folds=str(folder))
  names = splits.Names(names.speaker_U, names.session_U, np.full(24, "ravdess"))
  expected = make(names, method="emobox")
  for fold, parts in expected.items():
    for part, rows in parts.items():
      np.testing.assert_array_equal(made[fold][part], rows)


def test_a_file_beside_the_clips_means_those(tmp_path):
  names = corpus(tmp_path, "A/1", "copy/A/1", "B/1", "C/1")
  rows = ["data/A/1.ogg,train,1", "copy/A/1.wav,validation,1"]
  parts = by_file(tmp_path, names, *rows, "B/1.wav,test,1")["fold 1"]
  assert parts == {"train": [0], "validation": [1], "test": [2]}
  with pytest.raises(
    UserError, match=r"line 2: 1.wav may be .*A/1.ogg or .*; w"
  ):
    by_file(tmp_path, names, "1.wav,train,1", "B/1.wav,test,1")


def test_clips_of_one_name_of_which_the_study_leaves_out_one(tmp_path, caplog):
  corpus(tmp_path, "B/1")
  names = corpus(tmp_path, "A/1", "C/2")
  rows = ["x/B/1.wav,test,1", "x/A/1.wav,train,1", "x/C/2.wav,test,1"]
  for order in (rows, rows[::-1]):
    parts = by_file(tmp_path, names, *order, validates=False)["fold 1"]
    assert parts["labelled"] == [0]
    assert parts["test"] == [1]
  assert "are in no part: 1; the first: x/B/1.wav" in caplog.text
  rows[1] = "x/D/1.wav,train,1"
  with pytest.raises(UserError, match=r"x/D/1.wav and x/B/1.wav may both be "):
    by_file(tmp_path, names, *rows)


def test_clips_that_the_study_leaves_out(tmp_path, caplog):
  corpus(tmp_path, "A/sad", "B/sad", "C/sad")  # Other labels.
  names = corpus(tmp_path, "A/1", "B/1")
  rows = ["A/1.wav,train,1", "B/1.wav,test,1"]
  rows += ["A/sad.wav,train,1", "C/sad.wav,test,1"]
  parts = by_file(tmp_path, names, *rows, validates=False)["fold 1"]
  assert parts == {"labelled": [0], "unlabelled": [1], "test": [1]}
  assert "are in no part: 2; the first: A/sad.wav" in caplog.text
  rows += ["A/sda.wav,train,1", "A/3.wav,test,1"]
  with pytest.raises(UserError, match=r"line 6: no such .* A/sda.wav \(2 such"):
    by_file(tmp_path, names, *rows)


def test_a_file_that_leaks_is_refused_by_the_audit(tmp_path):
  names = corpus(tmp_path, "A/1", "A/2", "B/1", "C/1")
  rows = ["A/1,train,1", "A/2,test,1", "B/1,validation,1", "C/1,train,1"]
  for more, what in (([], "speaker"), (["A/1,test,1"], "speaker")):
    (parts,) = by_file(tmp_path, names, *rows, *more).values()
    split = splits.Split({part: np.array(rows) for part, rows in parts.items()})
    with pytest.raises(UserError, match=f"same {what} is in the train part"):
      split_audit.audit(
        split, [""] * 4, names.speaker_U, list("1234"), [""] * 4
      )


def test_files_that_are_not_read(tmp_path):
  names = corpus(tmp_path, "A/1", "B/1")
  with pytest.raises(UserError, match=r"config.split.folds is empty, .* a CSV"):
    make(names, method="folds")
  with pytest.raises(
    UserError, match=r"goes with config.split.method = 'folds'"
  ):
    make(names, folds="folds.csv")
  for path_U in (None, np.array(["", ""])):
    nameless = splits.Names(*(np.array(["A", "B"]),) * 3, path_U)
    with pytest.raises(UserError, match="as feature tables do not; choose"):
      make(nameless, method="folds", folds="folds.csv")
  for corpus_name in ("a", "b"):
    for part in ("train", "test"):
      file = tmp_path / f"{corpus_name}_{part}_fold_1.jsonl"
      file.write_text('{"wav": "A/1.wav"}', encoding="utf-8")
  with pytest.raises(UserError, match="has folds of a, b; name the folder of"):
    make(names, method="folds", folds=str(tmp_path))
