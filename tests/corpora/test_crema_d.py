"""The CREMA-D reader on trees generated with the release's names."""

import pytest

from emojax.corpora import speech as corpora


def _touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()


def test_names_say_everything(tmp_path):
  _touch(
    tmp_path / "AudioWAV",
    "1001_DFA_ANG_XX.wav",
    "1002_IEO_DIS_LO.wav",
    "1091_WSI_NEU_XX.wav",
  )
  first, second, last = corpora.read("crema_d", tmp_path)
  assert first.path == str(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")
  assert (first.speaker, first.label) == ("1001", "angry")
  assert (first.dialogue, first.turn) == ("1001_DFA_ANG_XX", 0)
  assert (first.session, first.text) == ("", "Don't forget a jacket")
  assert (second.label, second.text) == ("disgust", "It's eleven o'clock")
  assert (last.speaker, last.label) == ("1091", "neutral")


@pytest.mark.parametrize(
  ("code", "label"),
  [
    ("ANG", "angry"),
    ("DIS", "disgust"),
    ("FEA", "fearful"),
    ("HAP", "happy"),
    ("NEU", "neutral"),
    ("SAD", "sad"),
  ],
)
def test_labels(tmp_path, code, label):
  _touch(tmp_path, f"1050_TAI_{code}_XX.wav")
  (clip,) = corpora.read("crema_d", tmp_path)
  assert clip.label == label


def test_the_quirks_of_the_release(tmp_path):
  _touch(
    tmp_path / "AudioWAV",
    "1076_MTI_SAD_XX.wav",  # no speech
    "1040_ITH_SAD_X.wav",  # the level lost a letter
    "1001_DFA_ANG_XX.wav",
    "._1001_DFA_ANG_XX.wav",
  )
  _touch(tmp_path / "AudioMP3", "1001_DFA_ANG_XX.mp3", "1003_DFA_SAD_XX.mp3")
  _touch(tmp_path / "VideoFlash", "1001_DFA_ANG_XX.flv")
  _touch(tmp_path, "SentenceFilenames.csv", "README.md")
  clips = corpora.read("crema_d", tmp_path)
  assert [clip.path.rpartition("/")[2] for clip in clips] == [
    "1001_DFA_ANG_XX.wav",
    "1003_DFA_SAD_XX.mp3",
    "1040_ITH_SAD_X.wav",
  ]


def test_nested_copies_count_once(tmp_path):
  _touch(tmp_path / "AudioWAV", "1001_DFA_ANG_XX.wav")
  _touch(tmp_path / "AudioWAV" / "AudioWAV", "1001_DFA_ANG_XX.wav")
  (clip,) = corpora.read("crema_d", tmp_path)
  assert clip.path == str(tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav")


@pytest.mark.parametrize(
  "name",
  [
    "1001_DFA_ANG.wav",
    "1001_DFA_SUR_XX.wav",
    "1001_DOG_ANG_XX.wav",
    "03-01-06-01-02-01-12.wav",
  ],
)
def test_a_name_of_another_corpus(tmp_path, caplog, name):
  _touch(tmp_path / "AudioWAV", "1001_DFA_ANG_XX.wav", name)
  (clip,) = corpora.read("crema_d", tmp_path)
  assert clip.path.endswith("1001_DFA_ANG_XX.wav")
  (message,) = caplog.messages
  assert message.startswith(
    f"{tmp_path}: 1 file not named as clips of CREMA-D (1001_DFA_ANG_XX.wav)"
  )
  assert name in message
