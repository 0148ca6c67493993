"""What a session leaves."""

import csv
import json

import numpy as np

from emojax.encoders.words import Word
from emojax.inference.listener import Segment
from emojax.inference.session import Session, as_csv
from emojax.inference.stream import Counts, Window
from emojax.inference.terminal import clock, segment_line, window_line

CLASSES = ("angry", "sad")


def make_session():
  session = Session(CLASSES, 1.0)
  sad = np.array([0.25, 0.75])
  session.add(Window(0.0, 1.0, 0.0, None, None, ""))
  session.add(Window(0.0, 2.0, 0.9, sad, sad, "sad"))
  words = [Word("no", 0.6, 0.9), Word('"way"', 1.8, 2.4)]
  session.add(Segment(0.5, 2.5, "sad", sad, words))
  session.add(Window(0.0, 3.0, 1.9, 1 - sad, sad, "uncertain"))
  return session


def test_words_stand_beside_the_window_in_which_they_are_said(tmp_path):
  make_session().write(tmp_path)
  with open(tmp_path / "timeline.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  assert [row["text"] for row in rows] == ["no", "", '"way"']
  assert [row["emotion"] for row in rows] == ["", "sad", "uncertain"]
  assert rows[0]["confidence"] == rows[0]["angry"] == ""
  assert rows[1]["confidence"] == rows[1]["sad"] == "0.750000"
  assert [row["end"] for row in rows] == ["1.000", "2.000", "3.000"]
  with open(tmp_path / "segments.csv", encoding="utf-8", newline="") as file:
    (row,) = csv.DictReader(file)
  assert row["text"] == 'no "way"' and row["emotion"] == "sad"


def test_json_has_all_of_it(tmp_path):
  session = make_session()
  session.counts = Counts(clipped=0.5, dropped_windows=2)
  session.write(tmp_path)
  found = json.loads((tmp_path / "session.json").read_text("utf-8"))
  assert found["seconds"] == 3.0 and found["windows"] == 3
  assert found["shares"] == dict.fromkeys(
    ("no speech", "sad", "uncertain"), 1 / 3
  )
  assert found["counts"]["dropped_windows"] == 2
  assert found["timeline"][2]["probabilities_C"] == [0.75, 0.25]
  assert found["segments"][0]["words"][0] == {
    "text": "no",
    "start": 0.6,
    "end": 0.9,
  }
  assert "jax" in found["versions"]
  assert (tmp_path / "timeline.png").stat().st_size > 10_000


def test_nothing_was_heard(tmp_path):
  Session(CLASSES, 1.0).write(tmp_path)
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ["segments.csv", "session.json", "timeline.csv"]
  assert as_csv([]) == ""


def test_lines_for_a_person():
  session = make_session()
  session.counts = Counts(dropped_windows=2)
  assert session.line() == (
    "3.0 s, 3 windows: no speech 33%, sad 33%, uncertain 33%; dropped_windows 2"
  )
  assert segment_line(session.segments[0]) == '[0:00.5 - 0:02.5] sad: no "way"'
  assert window_line(session.windows[1], CLASSES) == (
    "     2.0  sad         sad 0.75  angry 0.25"
  )
  assert window_line(session.windows[0], CLASSES) == "     1.0  no speech"
  assert [clock(s) for s in (59.96, 3_723.4)] == ["1:00.0", "1:02:03.4"]
