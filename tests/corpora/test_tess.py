"""The TESS reader on trees generated with the release's names."""

from collections import Counter

import pytest

from emojax.corpora import speech as corpora
from emojax.errors import UserError

# Folders as they are spelt in circulating copies.
FOLDERS = {
  "angry": ("OAF_angry", "YAF_angry"),
  "disgust": ("OAF_disgust", "YAF_disgust"),
  "fear": ("OAF_Fear", "YAF_fear"),
  "happy": ("OAF_happy", "YAF_happy"),
  "neutral": ("OAF_neutral", "YAF_neutral"),
  "ps": ("OAF_Pleasant_surprise", "YAF_pleasant_surprised"),
  "sad": ("OAF_Sad", "YAF_sad"),
}
WORDS = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrstuvwxyzabcd"]


def _touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()


def test_the_whole_release(tmp_path):
  for emotion, folders in FOLDERS.items():
    for folder in folders:
      names = [f"{folder[:3]}_{word}_{emotion}.wav" for word in WORDS]
      _touch(tmp_path / folder, *names)
  clips = corpora.read("tess", tmp_path)
  assert len(clips) == len({clip.dialogue for clip in clips}) == 2800
  assert Counter(clip.speaker for clip in clips) == {"OAF": 1400, "YAF": 1400}
  assert Counter(clip.label for clip in clips) == dict.fromkeys(
    ("angry", "disgust", "fearful", "happy", "neutral", "surprised", "sad"), 400
  )


def test_text_and_the_misnamed_clip(tmp_path):
  _touch(tmp_path / "OAF_neutral", "OA_bite_neutral.wav")
  (clip,) = corpora.read("tess", tmp_path)
  assert (clip.speaker, clip.label, clip.turn) == ("OAF", "neutral", 0)
  assert clip.text == "Say the word bite"


def test_any_case_any_folder_each_once(tmp_path):
  name = "TESS Toronto emotional speech set data"
  _touch(tmp_path / "wav", "YAF_back_ps.wav", "OAF_Back_Sad.WAV")
  _touch(tmp_path / name / name / "YAF_pleasant_surprised", "YAF_back_ps.wav")
  sad, surprised = corpora.read("tess", tmp_path)
  assert (sad.label, sad.text) == ("sad", "Say the word back")
  assert surprised.path == str(tmp_path / "wav" / "YAF_back_ps.wav")


@pytest.mark.parametrize(
  ("path", "why"),
  [
    ("OAF_angry/OAF_back_sad.wav", "of OAF, sad, the folder of another"),
    ("YAF_angry/OAF_back_angry.wav", "of OAF, angry, the folder of another"),
  ],
)
def test_wrong_and_mixed_names(tmp_path, path, why):
  clip = tmp_path / path
  _touch(clip.parent, clip.name)
  with pytest.raises(UserError, match=why) as caught:
    corpora.read("tess", tmp_path)
  assert str(clip) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_names_of_another_corpus(tmp_path, caplog):
  names = "OAF_back.wav", "OAF_back_calm.wav", "XAF_back_angry.wav"
  _touch(tmp_path / "OAF_angry", *names, "OAF_back_angry.wav")
  (clip,) = corpora.read("tess", tmp_path)
  assert clip.text == "Say the word back"
  (message,) = caplog.messages
  assert "3 files not named as clips of TESS (OAF_back_angry.wav)" in message
  assert all(name in message for name in names)
