"""Splits by speaker and by session, and the audit that guards them."""

import numpy as np
import pytest

from emojax.corpora.records import Utterance
from emojax.data import splits
from emojax.data.table import FeatureTable
from emojax.errors import UserError

SPEAKERS = np.array(["01", "02", "03", "01", "03"])


def test_by_speakers():
  parts = splits.by_speakers(SPEAKERS, "03, 02").parts
  assert parts["labelled"].tolist() == [0, 3]
  assert parts["unlabelled"].tolist() == [1, 2, 4]
  assert parts["test"].tolist() == [1, 2, 4]


@pytest.mark.parametrize(
  ("chosen", "why"),
  [
    ("", "name at least one of 01, 02, 03"),
    ("04", "no speaker 04; there are 01, 02, 03"),
    ("1", "no speaker 1"),
    ("01,02,03", "none of the 3 speakers is left"),
  ],
)
def test_speakers_that_can_not_be_tested(chosen, why):
  with pytest.raises(UserError, match=why):
    splits.by_speakers(SPEAKERS, chosen)


def test_one_speaker_can_not_be_split():
  with pytest.raises(UserError, match="at least one for the test"):
    splits.by_speakers(np.array(["A", "A"]), "A")


SESSIONS = np.array(list("1122334455"))


@pytest.mark.parametrize(
  ("labelled", "unlabelled"),
  [("1234", "5"), ("123", "45"), ("134", "25"), ("234", "15"), ("23", "145")],
)
def test_the_settings_of_the_paper(labelled, unlabelled):
  parts = splits.by_sessions(SESSIONS, labelled, "5").parts
  assert "".join(SESSIONS[parts["labelled"]][::2]) == labelled
  assert "".join(SESSIONS[parts["unlabelled"]][::2]) == unlabelled
  assert parts["test"].tolist() == [8, 9]


@pytest.mark.parametrize(
  ("sessions", "labelled", "test", "why"),
  [
    (SESSIONS, "1236", "5", "no session 6; there are 1, 2, 3, 4, 5"),
    (SESSIONS[:8], "123", "5", "no session 5"),
    (SESSIONS, "1235", "5", "another one for the test"),
    (SESSIONS, "", "5", "name labelled sessions"),
    (np.full(4, ""), "1234", "5", "the data have no sessions"),
  ],
)
def test_sessions_that_are_not_there(sessions, labelled, test, why):
  with pytest.raises(UserError, match=why) as caught:
    splits.by_sessions(sessions, labelled, test)
  assert f"TS {labelled}" in str(caught.value)


LABELS = ["angry", "sad", "angry", "", "sad"]
DIALOGUES = ["a", "b", "c", "a", "c"]
UNIQUE = ["p", "q", "r", "s", "t"]


def test_the_audit_counts():
  split = splits.by_speakers(SPEAKERS, "03")
  text = splits.audit(split, LABELS, SPEAKERS, DIALOGUES, UNIQUE)
  rows = [
    [c.strip() for c in line.split("|")[1:-1]] for line in text.split("\n")
  ]
  assert rows[0] == [
    "part",
    "utterances",
    "dialogues",
    "speakers",
    "angry",
    "sad",
    "no label",
  ]
  assert rows[2] == ["labelled", "3", "2", "2: 01 02", "1", "1", "1"]
  assert rows[3] == ["unlabelled", "2", "1", "1: 03", "1", "1", "0"]
  assert rows[4] == ["test", "2", "1", "1: 03", "1", "1", "0"]
  assert len({len(line) for line in text.split("\n")}) == 1


def test_a_speaker_in_two_parts():
  split = splits.Split({"labelled": np.arange(3), "test": np.arange(3, 5)})
  with pytest.raises(
    UserError, match=r"same speaker.*labelled.*row 0: speaker 01"
  ):
    splits.audit(split, LABELS, SPEAKERS, DIALOGUES, UNIQUE)


@pytest.mark.parametrize("one", ["labelled", "validation"])
@pytest.mark.parametrize("other", ["unlabelled", "test"])
def test_a_recording_in_two_parts(one, other):
  rows = {one: np.array([0, 1, 3]), other: np.array([2, 4])}
  copies = ["p", "q", "r", "s", "q"]
  with pytest.raises(UserError, match=r"same recording.*row 1.*row 4"):
    splits.audit(splits.Split(rows), LABELS, SPEAKERS, DIALOGUES, copies)


def test_unknown_recordings_are_no_copies():
  split = splits.by_speakers(SPEAKERS, "03")
  assert splits.audit(split, LABELS, SPEAKERS, DIALOGUES, [""] * 5)


def test_an_empty_part():
  split = splits.Split({"labelled": np.arange(5), "test": np.arange(0)})
  with pytest.raises(UserError, match="test part of the split is empty"):
    splits.audit(split, LABELS, SPEAKERS, DIALOGUES, UNIQUE)


def _table(**features) -> FeatureTable:
  names = np.array(["x"] * len(next(iter(features.values()))))
  return FeatureTable(features, names, names, names, names, names)


def test_identical_rows_have_one_fingerprint():
  audio = np.array([[1, 2], [0, 0], [1, 2], [-0.0, 0], [1, 3]], np.float32)
  text = np.ones((5, 1), np.float32)
  a, none, b, silent, c = splits.table_fingerprints(
    _table(audio=audio, text=text)
  )
  assert a == b != c
  assert none == silent == ""
  # The same words with another voice are not the same recording.
  assert splits.table_fingerprints(_table(text=text)) == [""] * 5
  other = np.arange(5, dtype=np.float32)[:, np.newaxis]
  assert (
    len(set(splits.table_fingerprints(_table(audio=audio, text=other)))) == 4
  )


def test_identical_files_have_one_fingerprint(tmp_path):
  for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
    (tmp_path / name).write_bytes(content)
  utterances = [
    Utterance(str(tmp_path / name), "sad", "S", name, 0) for name in "abcd"
  ]
  a, b, c, missing = splits.file_fingerprints(utterances)
  assert a == b != c
  assert missing == ""
