"""The RAVDESS reader on generated names and on the real sample."""

from collections import Counter

from emojax.corpora import speech as corpora


def _touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()


def test_names_say_everything(tmp_path):
  _touch(tmp_path / "Actor_12", "03-01-06-01-02-01-12.wav")
  (clip,) = corpora.read("ravdess", tmp_path)
  assert clip.path == str(tmp_path / "Actor_12" / "03-01-06-01-02-01-12.wav")
  assert (clip.label, clip.speaker) == ("fearful", "12")
  assert (clip.dialogue, clip.turn) == ("03-01-06-01-02-01-12", 0)
  assert (clip.session, clip.text) == ("", "Dogs are sitting by the door")


def test_only_speech_and_only_audio(tmp_path, caplog):
  _touch(
    tmp_path / "Actor_01",
    "03-01-01-01-01-01-01.wav",
    "03-02-01-01-01-01-01.wav",
    "03-01-09-01-01-01-01.wav",
    "02-01-02-01-01-01-01.wav",
    "01-01-01-01-01-01-01.mp4",
    "._03-01-01-01-01-01-01.wav",
    "readme.wav",
    "03-01-01-01-01-01-00.wav",
  )
  (clip,) = corpora.read("ravdess", tmp_path)
  assert clip.label == "neutral"
  said = [message.partition(": ")[2] for message in caplog.messages]
  assert said == [
    "1 file of other types was not read: 1 .mp4 "
    "(Actor_01/01-01-01-01-01-01-01.mp4)",
    "3 files not named as clips of RAVDESS (03-01-06-01-02-01-01.wav) were not "
    "read: 3 .wav (Actor_01/03-01-01-01-01-01-00.wav, "
    "Actor_01/03-01-09-01-01-01-01.wav, Actor_01/readme.wav)",
    "1 file of songs was not read: 1 .wav (Actor_01/03-02-01-01-01-01-01.wav)",
    "1 file of videos without sound was not read: 1 .wav "
    "(Actor_01/02-01-02-01-01-01-01.wav)",
  ]


def test_the_sound_of_the_videos_is_the_audio_again(tmp_path, caplog):
  _touch(tmp_path / "a" / "Actor_01", "01-01-03-01-01-01-01.wav")
  _touch(tmp_path / "Actor_01", "01-01-04-01-01-01-01.wav")
  _touch(tmp_path / "b" / "c" / "Actor_01", "03-01-03-01-01-01-01.wav")
  happy, sad = corpora.read("ravdess", tmp_path)
  assert happy.path.endswith("c/Actor_01/03-01-03-01-01-01-01.wav")
  assert sad.path.endswith("01-01-04-01-01-01-01.wav")
  assert [clip.dialogue for clip in (happy, sad)] == [
    "03-01-03-01-01-01-01",
    "03-01-04-01-01-01-01",
  ]
  (message,) = caplog.messages
  assert "1 file of performances that are there already was not" in message


def test_nested_copies_count_once(tmp_path):
  names = [f"03-01-0{e}-01-01-01-01.wav" for e in range(1, 9)]
  _touch(tmp_path / "Actor_01", *names)
  _touch(tmp_path / "audio_speech_actors_01-24" / "Actor_01", *names)
  clips = corpora.read("ravdess", tmp_path)
  assert len(clips) == len({clip.label for clip in clips}) == 8
  assert all("audio_speech" not in clip.path for clip in clips)
  assert len(corpora.read("ravdess", tmp_path / "Actor_01")) == 8


def test_the_real_sample(real_data):
  clips = corpora.read("ravdess", real_data / "ravdess")
  assert len(clips) == 600
  speakers = Counter(clip.speaker for clip in clips)
  assert speakers == {f"{actor:02d}": 60 for actor in range(1, 11)}
  labels = Counter(clip.label for clip in clips)
  assert labels.pop("neutral") == 40  # it has no strong intensity
  assert set(labels.values()) == {80}
  assert len(labels) == 7
