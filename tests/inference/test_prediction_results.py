"""What was predicted, as a file and as a table."""

import csv
import os

import numpy as np
import pytest

from emojax import __main__ as commands
from emojax.errors import UserError
from emojax.inference import results

PREDICTIONS = results.Predictions(
  ("angry", "sad"),
  {"path": ['one, "two".wav', "größe/日本.wav", "bytes\udcff\n.wav"]},
  np.array([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]]),
  {"seconds": [0.5, 61.25, 3600.0]},
  [],
)


def test_csv(tmp_path):
  path = tmp_path / "new" / "out.csv"
  results.require_writable(path)
  assert not path.parent.exists()
  results.write_csv(path, PREDICTIONS)
  with open(path, encoding="utf-8", errors="surrogateescape", newline="") as f:
    rows = list(csv.DictReader(f))
  assert list(rows[0]) == [
    "path", "emotion", "confidence", "angry", "sad", "seconds"
  ]  # fmt: skip
  assert [row["path"] for row in rows] == PREDICTIONS.names["path"]
  assert [row["emotion"] for row in rows] == ["sad", "angry", "angry"]
  assert [float(row["confidence"]) for row in rows] == [0.75, 0.9, 0.5]
  assert [float(row["angry"]) for row in rows] == [0.25, 0.9, 0.5]
  assert [float(row["seconds"]) for row in rows] == [0.5, 61.25, 3600]
  assert os.listdir(path.parent) == ["out.csv"]


def test_table():
  first, *lines = results.table(PREDICTIONS).splitlines()
  assert first.split() == [
    "path", "emotion", "confidence", "angry", "sad", "seconds"
  ]  # fmt: skip
  assert len(lines) == 3
  assert lines[1].split() == [
    "größe/日本.wav", "angry", "0.90", "0.90", "0.10", "61.25"
  ]  # fmt: skip
  assert {len(line) for line in (first, *lines[:2])} == {len(first)}
  lines[2].encode()  # A name that is no UTF-8 does not end the printing.


def test_output_that_can_not_be_written(tmp_path):
  (tmp_path / "file").touch()
  for path in (tmp_path / "file" / "out.csv", tmp_path / "file" / "x" / "y"):
    with pytest.raises(UserError, match="can not be written"):
      results.require_writable(path)
    with pytest.raises(UserError, match="can not be written"):
      results.write_csv(path, PREDICTIONS)
  with pytest.raises(UserError, match="is a folder"):
    results.require_writable(tmp_path)


def test_output_that_is_what_is_read(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  folder, linked = tmp_path / "set", tmp_path / "linked"
  folder.mkdir()
  linked.symlink_to(folder)
  for name in ("talks.csv", "talk.wav"):
    (folder / name).write_text("mine")
  for path, named in (
    ("set/talks.csv", "set/talks.csv"),
    ("set/talks.csv", folder / "talks.csv"),
    ("set/talk.wav", "set"),
    ("set/talk.wav", "linked/"),
    ("linked/talk.wav", "set"),
  ):
    with pytest.raises(UserError, match="is what is read, and would be overw"):
      results.require_writable(path, ["elsewhere", named])
  # A table below a folder is what was written there the last time.
  results.require_writable("set/talks.csv", ["set"])
  results.require_writable("set/new.wav", ["set", "run", "hub/id"])


@pytest.mark.parametrize(
  "arguments",
  [
    ["predict", "run", "mine.csv", "--output=mine.csv"],
    ["predict", "run", "mine.csv", "--timeline=mine.csv"],
    ["clean", "run", "mine.csv", "--output=mine.csv"],
    ["import-table", "mine.csv", "mine.csv"],
  ],
)
def test_commands_that_write_spare_what_they_read(
  arguments, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.csv").write_text("path\na.wav\n")
  with pytest.raises(UserError, match="is what is read"):
    commands.main(["emojax", *arguments])
