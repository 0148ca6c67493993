"""Recordings that are there twice: counted, named, or refused."""

import pytest

from emojax.corpora.records import Utterance
from emojax.data import duplicates
from emojax.errors import UserError

CLASSES = {"happy": 0, "excited": 0, "sad": 1}


def _clips(*labels):
  return [
    Utterance(f"{i}.wav", label, "A", str(i)) for i, label in enumerate(labels)
  ]


def test_one_recording_with_two_labels():
  clips = _clips("happy", "sad", "sad")
  with pytest.raises(
    UserError,
    match=r"0\.wav is happy and 2\.wav, the same recording, sad; 1 such in all",
  ):
    duplicates.check("manifest", clips, ["x", "y", "x"], CLASSES)


def test_of_a_shipped_corpus_it_is_said(caplog):
  duplicates.check("ravdess", _clips("happy", "sad"), ["x", "x"], CLASSES)
  first, second = caplog.messages
  assert first == (
    "ravdess: recordings that are there with two labels: 1, such as 0.wav is "
    "happy and 1.wav, the same recording, sad"
  )
  assert second == (
    "ravdess: recordings that are copies of others, and count each: 1 of 2, "
    "such as 0.wav = 1.wav"
  )


@pytest.mark.parametrize("labels", [("happy", "excited"), ("sad", "")])
def test_what_does_not_differ(caplog, labels):
  duplicates.check("manifest", _clips(*labels), ["x", "x"], CLASSES)
  assert "and count each: 1 of 2, such" in caplog.text
  caplog.clear()
  duplicates.check("manifest", _clips(*labels), ["x", "y"], CLASSES)
  duplicates.check("manifest", _clips(*labels), ["", ""], CLASSES)
  assert not caplog.messages
