"""The EMO-DB reader on trees generated with the release's names."""

import pytest

from emojax.corpora import speech as corpora

LABELS = {
  "W": "angry",
  "L": "boredom",
  "E": "disgust",
  "A": "fearful",
  "F": "happy",
  "T": "sad",
  "N": "neutral",
}


def _touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()


def test_names_say_everything(tmp_path):
  _touch(tmp_path / "wav", *(f"16b10{code}a.wav" for code in LABELS))
  clips = corpora.read("emodb", tmp_path)
  assert {clip.dialogue[5]: clip.label for clip in clips} == LABELS
  assert {clip.speaker for clip in clips} == {"16"}
  assert {clip.text for clip in clips} == {
    "Die wird auf dem Platz sein, wo wir sie immer hinlegen."
  }
  assert {(clip.turn, clip.session) for clip in clips} == {(0, "")}


def test_versions_and_what_is_no_recording(tmp_path):
  _touch(tmp_path / "wav", "03a01Fa.wav", "03a01Fb.wav", "11a05N.wav")
  # The laryngograms of the second edition, and its copy one level deeper.
  _touch(tmp_path / "laryngo", "03a01Fa.wav", "08a01Fa.wav")
  _touch(tmp_path / "emodb" / "wav", "03a01Fa.wav")
  _touch(tmp_path / "lablaut", "03a01Fa.lablaut")
  _touch(tmp_path, "erkennung.txt")
  clips = corpora.read("emodb", tmp_path)
  assert [clip.dialogue for clip in clips] == ["03a01Fa", "03a01Fb", "11a05N"]
  assert clips[0].path == str(tmp_path / "wav" / "03a01Fa.wav")
  assert clips[2].text.startswith("Das schwarze Stück Papier")


@pytest.mark.parametrize(
  "name", ["03a01Xa.wav", "03a03Fa.wav", "3a01Fa.wav", "DC_a01.wav"]
)
def test_a_name_of_another_corpus(tmp_path, caplog, name):
  _touch(tmp_path / "wav", "03a01Fa.wav", name)
  (clip,) = corpora.read("emodb", tmp_path)
  assert clip.path.endswith("03a01Fa.wav")
  (message,) = caplog.messages
  assert message.startswith(
    f"{tmp_path}: 1 file not named as clips of EMO-DB (03a01Fa.wav)"
  )
  assert name in message
