"""The MELD reader on trees generated in the release's own format."""

import dataclasses
import shutil
from collections import Counter

import numpy as np
import pytest

from configs import common
from emojax.corpora import speech as corpora
from emojax.data import split_audit, splits
from emojax.errors import UserError

HEADER = (
  "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
  "Season,Episode,StartTime,EndTime\n"
)
TIMES = '4,7,"00:20:57,256","00:21:00,049"\n'
FOLDERS = {
  "train": "train_splits",
  "dev": "dev_splits_complete",
  "test": "output_repeated_splits_test",
}


def _write_part(csv, clips, rows, encoding="utf-8"):
  """Writes rows of (text, speaker, emotion, dialogue, utterance)."""
  lines = [
    f'{i},"{text}",{speaker},{emotion},neutral,{dialogue},{turn},{TIMES}'
    for i, (text, speaker, emotion, dialogue, turn) in enumerate(rows, 1)
  ]
  csv.parent.mkdir(parents=True, exist_ok=True)
  csv.write_bytes((HEADER + "".join(lines)).encode(encoding))
  clips.mkdir(parents=True, exist_ok=True)
  for *_, dialogue, turn in rows:
    for suffix in ("mp4", "wav"):
      (clips / f"dia{dialogue}_utt{turn}.{suffix}").touch()


@pytest.fixture
def release(tmp_path):
  """The three parts; the names of dialogues repeat between them."""
  for part, folder in FOLDERS.items():
    rows = [
      (f"Oh my God, he’s lost it, {part}.", "Phoebe", "sadness", 0, 0),
      ("What?", "Monica", "surprise", 0, 1),
      ('You say ""porn"" — again.', "All", "joy", 1, 0),
    ]
    _write_part(tmp_path / f"{part}_sent_emo.csv", tmp_path / folder, rows)
  return tmp_path


def test_the_format_as_it_is_shipped(release):
  found = corpora.read("meld", release)
  assert [u.session for u in found] == [p for p in FOLDERS for _ in range(3)]
  first, _, third = found[:3]
  assert first.path == str(release / "train_splits" / "dia0_utt0.wav")
  assert first.text == "Oh my God, he’s lost it, train."
  assert third.text == 'You say "porn" — again.'
  assert [u.label for u in found[:3]] == ["sad", "surprised", "happy"]
  cast = "Chandler & Joey & Monica & Phoebe & Rachel & Ross"
  assert [u.speaker for u in found[:3]] == ["Phoebe", "Monica", cast]
  assert first.cut == ("MELD S4E7", 1257.256, 1260.049)
  assert [(u.dialogue, u.turn) for u in found[:3]] == [
    ("0", 0),
    ("0", 1),
    ("1", 0),
  ]
  assert len({(u.session, u.dialogue, u.turn) for u in found}) == 9


def test_folders_as_the_archives_unpack(tmp_path):
  root = tmp_path / "MELD.Raw"
  for part, folder in FOLDERS.items():
    # The annotations of the training part lie in its archive.
    where = root / part if part == "train" else root
    rows = [("Hey.", "Joey", "anger", 7, 3)]
    _write_part(where / f"{part}_sent_emo.csv", root / part / folder, rows)
  found = corpora.read("meld", tmp_path)
  assert [u.session for u in found] == ["train", "dev", "test"]
  assert found[2].path == str(
    root / "test" / "output_repeated_splits_test" / "dia7_utt3.wav"
  )


@pytest.mark.parametrize(
  "content",
  [
    "Don’t…".encode("cp1252"),
    "Don’t…".encode(),
    "Don\x92t\x85".encode(),  # Windows-1252 taken for Unicode
  ],
)
def test_apostrophes(release, content):
  row = b"1," + content + b",Ross,fear,negative,4,2," + TIMES.encode()
  (release / "train_sent_emo.csv").write_bytes(HEADER.encode() + row)
  found = corpora.read("meld", release)[0]
  assert (found.text, found.label) == ("Don’t…", "fearful")


def test_missing_and_doubled_clips(release):
  clips = release / "output_repeated_splits_test"
  (clips / "dia0_utt0.wav").unlink()
  (clips / "dia0_utt1.wav").rename(clips / "final_videos_testdia0_utt1.wav")
  (clips / "final_videos_testdia1_utt0.wav").touch()
  (clips / "._dia1_utt0.wav").touch()
  (clips / "dia0_utt1.flac").touch()
  missing, flac, plain = corpora.read("meld", release)[6:]
  assert missing.path == str(clips / "dia0_utt0.wav")
  assert flac.path == str(clips / "dia0_utt1.flac")
  assert plain.path == str(clips / "dia1_utt0.wav")
  (clips / "dia0_utt1.flac").unlink()
  again = corpora.read("meld", release)[7]
  assert again.path == str(clips / "final_videos_testdia0_utt1.wav")


def test_folders_behind_links_and_clips_that_nobody_annotated(
  release, tmp_path, caplog
):
  here = tmp_path / "here"
  here.mkdir()
  for name in ("train_splits", "train_sent_emo.csv"):
    (here / name).symlink_to(release / name)
  (release / "disk").mkdir()
  for name in ("dev", "test"):
    for one in (FOLDERS[name], f"{name}_sent_emo.csv"):
      (release / one).rename(release / "disk" / one)
  (here / "rest").symlink_to(release / "disk")
  (release / "train_splits" / "dia9_utt9.wav").touch()
  found = corpora.read("meld", here)
  assert len(found) == 9
  assert found[0].path == str(here / "train_splits" / "dia0_utt0.wav")
  assert any(
    "train_splits: 1 file without a line in" in message
    and message.endswith("was not read: 1 .wav (dia9_utt9.wav)")
    for message in caplog.messages
  )


def test_video_only_says_how_to_convert(release):
  clips = release / "dev_splits_complete"
  for clip in clips.glob("*.wav"):
    clip.unlink()
  with pytest.raises(UserError, match=r"no audio.*ffmpeg") as caught:
    corpora.read("meld", release)
  assert str(clips) in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("old", "new", "why"),
  [
    ("Emotion", "Feeling", "line 1: no column Emotion"),
    ("surprise", "surprize", "line 3: unknown label 'surprize'; did you mean"),
    (",Monica,", ",,", "line 3: speaker ''"),
    ("0,1,4,7", "0,one,4,7", "line 3: .*utterance 'one'"),
    (",Monica,surprise,neutral,0,1,4,7", "", "line 3: not as many fields"),
  ],
)
def test_damaged_annotations_name_their_line(release, old, new, why):
  path = release / "dev_sent_emo.csv"
  path.write_text(path.read_text().replace(old, new, 1))
  with pytest.raises(UserError, match=why) as caught:
    corpora.read("meld", release)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "name", ["dev_sent_emo.csv", "output_repeated_splits_test"]
)
def test_a_part_that_is_missing(release, name):
  (release / name).rename(release / "elsewhere")
  with pytest.raises(UserError, match=rf"no {name}; .*github.*ffmpeg"):
    corpora.read("meld", release)


def test_the_text_alone(release):
  """Clips that are there have a path, in whatever part."""
  whole = corpora.read("meld", release)
  assert corpora.read("meld", release, needs_audio=False) == whole
  shutil.rmtree(release / "train_splits")
  for clip in (release / "dev_splits_complete").glob("*.wav"):
    clip.unlink()
  alone = corpora.read("meld", release, needs_audio=False)
  assert alone[6:] == whole[6:]
  assert alone[:6] == [dataclasses.replace(one, path="") for one in whole[:6]]


def test_the_real_transcripts(real_data):
  found = corpora.read("meld", real_data / "meld", needs_audio=False)
  # The counts of the paper's Table 3.
  parts = Counter(one.session for one in found)
  assert parts == {"train": 9989, "dev": 1109, "test": 2610}
  dialogues = {(one.session, one.dialogue) for one in found}
  assert len(dialogues) == 1432  # One of 1,433 is not in the release.
  assert Counter(one.label for one in found) == {
    "neutral": 6436,
    "happy": 2308,
    "surprised": 1636,
    "angry": 1607,
    "sad": 1002,
    "disgust": 361,
    "fearful": 358,
  }
  assert {one.path for one in found} == {""}
  assert all(one.text for one in found)
  with pytest.raises(UserError, match="no train_splits"):
    corpora.read("meld", real_data / "meld")


def test_what_programs_make_of_the_annotations(release, caplog):
  path = release / "train_sent_emo.csv"
  lines = path.read_text("utf-8").replace("0,1,4,7", "0.0,1.0,4,7")
  header, rest = lines.split("\n", 1)
  path.write_text(f"{header.upper()}\n{rest}\n,,,,,,,,,,\n", "utf-16")
  (release / "train_sent_emo.csv").rename(release / "Train_sent_emo.CSV")
  (release / "train_splits").rename(release / "Train_Splits")
  found = corpora.read("meld", release)
  assert [(u.dialogue, u.turn) for u in found[:2]] == [("0", 0), ("0", 1)]
  assert found[1].path == str(release / "Train_Splits" / "dia0_utt1.wav")
  assert found[0].text == "Oh my God, he’s lost it, train."
  assert "not used" not in caplog.text


def test_an_utterance_that_is_there_again(release, caplog):
  path = release / "dev_sent_emo.csv"
  whole = path.read_text("utf-8")
  row = whole.split("\n")[2]
  path.write_text(f"{whole}{row}\n", "utf-8")
  assert len(corpora.read("meld", release)) == 9
  assert "dev_sent_emo.csv: 1 are there twice and count once" in caplog.text
  path.write_text(f"{whole}{row.replace('surprise', 'joy')}\n", "utf-8")
  with pytest.raises(UserError, match=r"line 5: .* there with Emotion 'surp"):
    corpora.read("meld", release)


@pytest.mark.parametrize(
  ("written", "meant"),
  [
    ("Ross and Joey", "Joey & Ross"),
    ("Joey/Drake", "Joey"),
    ("Dr. Drake Remoray", "Joey"),
    ("The Guys", "Chandler & Joey & Monica & Phoebe & Rachel & Ross"),
    ("Phoebe Sr", "Phoebe Sr."),
    ("Ursula", "Phoebe & Ursula"),
    ("Joey's Hand Twin", "Joey's Hand Twin"),
  ],
)
def test_who_is_meant(release, written, meant):
  path = release / "dev_sent_emo.csv"
  text = path.read_text("utf-8").replace(",Monica,", f",{written},")
  path.write_text(text, "utf-8")
  assert corpora.read("meld", release)[4].speaker == meant


def test_nobody_of_the_real_annotations_is_in_two_parts(real_data):
  found = corpora.read("meld", real_data / "meld", needs_audio=False)
  speaker_U = np.array([one.speaker for one in found])
  names = splits.Names(
    speaker_U,
    np.array([one.session for one in found]),
    np.full(len(found), "meld"),
  )
  split = common.split()
  made = splits.make(split, names, validates=True)["unseen speakers"]
  stretches = [one.stretch for one in found]
  same = [[""] * len(found), speaker_U, speaker_U, [""] * len(found)]
  text = split_audit.audit(made, *same, stretches)
  assert "Phoebe Sr." in set(speaker_U.tolist())
  assert "clips of the test part overlap in time with one of the train" in text
  split.method = "official"
  made = splits.make(split, names, validates=True)["official parts"]
  assert [len(rows) for rows in made.parts.values()] == [9989, 1109, 2610]
  assert "speakers are in the train and the test part, too: " in (
    split_audit.audit(made, *same, stretches)
  )
