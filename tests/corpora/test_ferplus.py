"""The FERPlus reader: majority votes, dropped images, the real sample."""

import collections

import numpy as np
import pytest

from emojax.corpora import faces, images
from emojax.corpora.faces import ferplus
from emojax.errors import UserError

HEADER = (
  "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,"
  "contempt,unknown,NF"
)


def _corpus(tmp_path, *rows, header=HEADER):
  for folder in ("FER2013Train", "FER2013Valid", "FER2013Test"):
    (tmp_path / folder).mkdir()
  (tmp_path / "fer2013new.csv").write_text("\n".join([header, *rows]) + "\n")
  return tmp_path


@pytest.mark.parametrize(
  ("votes", "label"),
  [
    ((10, 0, 0, 0, 0, 0, 0, 0, 0, 0), "neutral"),
    ((4, 0, 1, 1, 1, 1, 1, 1, 0, 0), "neutral"),  # Single votes are slips.
    ((0, 6, 4, 0, 0, 0, 0, 0, 0, 0), "happy"),
    ((0, 5, 5, 0, 0, 0, 0, 0, 0, 0), ""),  # Half is no majority.
    ((0, 0, 5, 3, 2, 0, 0, 0, 0, 0), ""),
    ((0, 0, 5, 3, 1, 1, 0, 0, 0, 0), "surprised"),
    ((0, 0, 0, 8, 0, 0, 2, 0, 0, 0), "sad"),
    ((0, 0, 0, 0, 7, 3, 0, 0, 0, 0), "angry"),
    ((0, 0, 0, 0, 2, 8, 0, 0, 0, 0), "disgust"),
    ((0, 0, 3, 0, 0, 0, 6, 0, 0, 1), "fearful"),
    ((2, 0, 0, 0, 0, 0, 0, 8, 0, 0), "contempt"),
    ((2, 0, 0, 0, 0, 0, 0, 0, 8, 0), ""),  # They do not know.
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), ""),  # It is not a face.
    ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), ""),
  ],
)
def test_the_majority(votes, label):
  assert ferplus.majority(votes) == label


def test_rows(tmp_path):
  _corpus(
    tmp_path,
    "Training,fer0000000.png,0,9,0,1,0,0,0,0,0,0",
    "Training,,0,0,0,0,0,0,0,0,0,10",  # Dropped by the authors.
    "PublicTest,fer0028710.png,5,0,0,5,0,0,0,0,0,0",
    "PrivateTest,fer0032298.png,0,0,0,0,0,0,8,0,2,0",
  )
  first, second, third = faces.read("ferplus", tmp_path)
  assert first.path == str(tmp_path / "FER2013Train" / "fer0000000.png")
  assert (first.name, first.label, first.part) == (
    *("fer0000000", "happy", "train"),
  )
  assert first.votes == (0, 9, 0, 1, 0, 0, 0, 0, 0, 0)
  assert (second.label, second.part) == ("", "validation")
  assert second.votes[:4] == (5, 0, 0, 5)
  assert third.path == str(tmp_path / "FER2013Test" / "fer0032298.png")
  assert third.label == "fearful"


def test_missing_folders_are_named(tmp_path):
  _corpus(tmp_path)
  (tmp_path / "FER2013Valid").rmdir()
  with pytest.raises(UserError, match=r"no folder FER2013Valid.*microsoft"):
    faces.read("ferplus", tmp_path)


@pytest.mark.parametrize(
  ("row", "why"),
  [
    ("Test,a.png,0,9,0,1,0,0,0,0,0,0", "line 2: unknown Usage 'Test'"),
    ("Training,.,0,9,0,1,0,0,0,0,0,0", "line 2: '.' is no name of an image"),
    ("Training,a.png,0,9,0,1", "line 2: not as many fields"),
    ("Training,a.png,0,x,0,1,0,0,0,0,0,0", "line 2: happiness 'x' is no whole"),
    ("Training,a.png,0,9,0,-1,0,0,0,0,0,0", "line 2: -1 to 9 votes"),
    (
      f"Training,a.png,0,{10**12},0,0,0,0,0,0,0,0",
      "line 2: 0 to 1000000000000",
    ),
  ],
)
def test_rows_that_are_not_of_ferplus(tmp_path, row, why):
  with pytest.raises(UserError, match=why):
    faces.read("ferplus", _corpus(tmp_path, row))


def test_another_table(tmp_path):
  header = HEADER.replace("contempt", "boredom")
  with pytest.raises(UserError, match="no column contempt"):
    faces.read("ferplus", _corpus(tmp_path, header=header))


def test_the_real_sample(real_data):
  found = faces.read("ferplus", real_data / "ferplus")
  assert collections.Counter(face.part for face in found) == {
    "train": 1_200,
    "validation": 200,
    "test": 200,
  }
  votes = np.array([face.votes for face in found])
  np.testing.assert_array_equal(votes.sum(axis=1), 10)
  # A majority of what counts is the largest count of all, and never a tie.
  labelled = np.array([face.label != "" for face in found])
  ordered = np.sort(votes, axis=1)
  assert (ordered[labelled, -1] > ordered[labelled, -2]).all()
  assert 0.05 < np.mean(~labelled) < 0.2
  image = images.load(found[0], (48, 48), 1)
  assert image.std() > 10


def test_other_forms_of_the_release(tmp_path, caplog):
  """The repository's own, with `data` below the table; spreadsheets."""
  row = "Training;fer0000000.png;0;9.0;0;1;0;0;0;0;0;0;x"
  again = "training;fer0000001.png;0;9;0;0;0;0;0;0;0;0;"
  (tmp_path / "fer2013new.csv").write_text(
    f"\ufeff{HEADER},note\n{row}\n;;\n{again}\n{again}\n".replace(",", ";")
    .replace(";;\n", ";" * 12 + "\n")
    .replace("\n", "\r\n"),
    encoding="utf-8",
  )
  for folder in ("FER2013Train", "fer2013valid", "FER2013Test"):
    (tmp_path / "data" / folder).mkdir(parents=True)
  train = tmp_path / "data" / "FER2013Train"
  (train / "FER0000000.PNG").touch()
  (train / "fer0000009.png").touch()
  first, second = faces.read("ferplus", tmp_path)
  assert first.path == str(train / "FER0000000.PNG")
  assert first.votes == (0, 9, 0, 1, 0, 0, 0, 0, 0, 0)
  assert second.path == str(train / "fer0000001.png")
  said = "\n".join(caplog.messages)
  assert "columns not used: note" in said
  assert "2 images do not have 10 votes; first: fer0000001" in said
  assert "1 file that the list does not name was not read" in said
  assert "1 images are there twice, and count once" in said


def test_one_image_with_two_majorities(tmp_path):
  rows = [
    "Training,a.png,0,9,0,1,0,0,0,0,0,0",
    "Training,a.png,9,0,0,1,0,0,0,0,0,0",
  ]
  with pytest.raises(UserError, match="a is there twice, as happy and as neut"):
    faces.read("ferplus", _corpus(tmp_path, *rows))
