"""What was predicted, as a file and as a table."""

import csv
import os

import numpy as np
import pytest

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
