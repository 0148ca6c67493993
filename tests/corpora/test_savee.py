"""The SAVEE reader on a tree of the release's size."""

from collections import Counter

import pytest

from emojax.corpora import speech as corpora
from emojax.errors import UserError

# Fifteen of each emotion, thirty neutral ones, for each of the four speakers.
CODES = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
NAMES = [
  f"{code}{number:02d}.wav"
  for code, count in CODES.items()
  for number in range(1, count + 1)
]


def _touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()


def test_the_whole_release(tmp_path):
  for speaker in ("DC", "JE", "JK", "KL"):
    _touch(tmp_path / "AudioData" / speaker, *NAMES)
  _touch(tmp_path / "AudioData", "Info.txt")
  clips = corpora.read("savee", tmp_path)
  assert len(clips) == 480
  assert Counter(clip.speaker for clip in clips) == dict.fromkeys(
    ("DC", "JE", "JK", "KL"), 120
  )
  assert Counter(clip.label for clip in clips) == {
    "angry": 60,
    "disgust": 60,
    "fearful": 60,
    "happy": 60,
    "neutral": 120,
    "sad": 60,
    "surprised": 60,
  }
  assert len({clip.dialogue for clip in clips}) == 480
  sad = next(clip for clip in clips if clip.path.endswith("/KL/sa03.wav"))
  assert (sad.label, sad.speaker, sad.text) == ("sad", "KL", "")


def test_one_folder_for_all_counts_once(tmp_path):
  _touch(tmp_path / "ALL", "DC_a01.wav", "JE_su15.wav")
  _touch(tmp_path / "AudioData" / "old" / "DC", "a01.wav")
  first, second = corpora.read("savee", tmp_path)
  assert first.path == str(tmp_path / "ALL" / "DC_a01.wav")
  assert (second.speaker, second.label) == ("JE", "surprised")


@pytest.mark.parametrize(
  "name", ["DC/s01.wav", "DC/x01.wav", "XY/a01.wav", "a01.wav", "DC/a1.wav"]
)
def test_a_name_of_another_corpus(tmp_path, caplog, name):
  path = tmp_path / "AudioData" / name
  _touch(path.parent, path.name)
  with pytest.raises(UserError, match="no audio of this corpus found"):
    corpora.read("savee", tmp_path)
  (message,) = caplog.messages
  assert "1 file not named as clips of SAVEE (DC/sa01.wav, DC_sa01" in message
  assert name in message
