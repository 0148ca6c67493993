"""The user's own CSV."""

import os
import unicodedata

import pytest

from emojax.corpora import speech as corpora
from emojax.errors import UserError


@pytest.fixture
def write(tmp_path):
  def write(text, encoding="utf-8"):
    for name in ("a.wav", "b.wav", "c.wav"):
      (tmp_path / name).touch()
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding=encoding)
    return path

  return write


def test_required_columns_are_enough(write, tmp_path):
  path = write("path,label,speaker\na.wav,Joy,Ann\nb.wav,,Bob\n")
  a, b = corpora.read("manifest", path)
  assert a.path == str(tmp_path / "a.wav")
  assert (a.label, a.speaker, a.turn, a.session, a.text) == (
    "happy",
    "Ann",
    0,
    "",
    "",
  )
  assert b.label == ""
  assert a.dialogue != b.dialogue


def test_all_columns_in_any_order(write, tmp_path):
  absolute = tmp_path / "c.wav"
  path = write(
    "\ufefftext,turn,dialogue,session,speaker,label,path,notes\n"
    '"Well, no.",2,d1,Ses02,Ann,ang,a.wav,x\n'
    "Yes.,1,d1,Ses02,Bob,neu,b.wav,\n"
    f"Oh.,,d1,3,Bob,neu,{absolute},\n"
  )
  a, b, c = corpora.read("manifest", path)
  assert (a.text, a.turn, a.dialogue, a.session) == ("Well, no.", 2, "d1", "2")
  assert (b.turn, b.label) == (1, "neutral")
  assert (c.path, c.turn, c.session) == (str(absolute), 0, "3")


def test_words_are_kept_as_they_are_said(write):
  path = write(
    "path,label,speaker,text\na.wav,sad,A,None\nb.wav,sad,A,null\n"
    "c.wav,sad,A,#N/A\n"
  )
  found = corpora.read("manifest", path)
  assert [u.text for u in found] == ["None", "null", ""]


def test_two_ways_to_number_a_session_are_named(write, caplog):
  path = write(
    "path,label,speaker,session\na.wav,sad,A,Ses02\nb.wav,sad,B,02\n"
    "c.wav,sad,C,Ses02\n"
  )
  found = corpora.read("manifest", path)
  assert [one.session for one in found] == ["2", "2", "2"]
  (message,) = caplog.messages
  assert message.endswith("number is written: '02' for 'Ses02'")


def test_turns_follow_the_rows(write):
  path = write(
    "path,label,speaker,dialogue\na.wav,sad,A,x\nb.wav,sad,B,y\nc.wav,sad,A,x\n"
  )
  assert [u.turn for u in corpora.read("manifest", path)] == [0, 0, 1]


@pytest.mark.parametrize(
  ("text", "why"),
  [
    ("", "line 1: no column path, label, speaker; .* found nothing"),
    ("path,label\na.wav,sad\n", "line 1: no column speaker; .* found path"),
    ("path,label,speaker\n", "no audio of this corpus found"),
    (
      "path,label,speaker\na.wav,sad,A\nb.wav,sadd,B\n",
      "line 3: unknown label 'sadd'; did you mean sad",
    ),
    ("path,label,speaker\na.wav,sad, \n", "line 2: no speaker"),
    (
      "path,label,speaker\na.wav,sad,NA\n",
      r"line 2: no speaker \('NA' reads as a missing value: if it is a name",
    ),
    ("path,label,speaker\n,sad,A\n", "line 2: no path"),
    ("path,label,speaker\nx.wav,sad,A\n", "line 2: no such file: .*x.wav"),
    ("path,label,speaker\na.wav,sad\n", "line 2: not as many fields"),
    ("path,label,speaker\na.wav,sad,A,B\n", "line 2: not as many fields"),
    ("path,label,speaker,turn\na.wav,sad,A,one\n", "line 2: turn 'one'"),
    (
      "path,label,speaker,dialogue,turn\na.wav,sad,A,d,1\nb.wav,sad,A,d,\n",
      "line 3: of dialogue 'd' some rows have a turn and some have none",
    ),
  ],
)
def test_bad_rows_name_their_line(write, text, why):
  path = write(text)
  with pytest.raises(UserError, match=why) as caught:
    corpora.read("manifest", path)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_files_that_are_no_manifest(write, tmp_path):
  path = write("path,label,speaker\na.wav,sad,Zoë\n", "latin-1")
  with pytest.raises(UserError, match="not UTF-8"):
    corpora.read("manifest", path)
  with pytest.raises(UserError, match="a folder; expected a CSV"):
    corpora.read("manifest", tmp_path)
  with pytest.raises(UserError, match="no such file"):
    corpora.read("manifest", tmp_path / "missing.csv")


def test_the_text_alone(write, tmp_path):
  text = (
    "path,label,speaker,text\na.wav,sad,A,Oh no.\nx.wav,sad,B,No.\n,,A,Yes\n"
  )
  path = write(text)
  a, x, nowhere = corpora.read("manifest", path, needs_audio=False)
  assert (a.path, a.text) == (str(tmp_path / "a.wav"), "Oh no.")
  assert (x.path, x.text) == ("", "No.")
  assert (nowhere.path, nowhere.text, nowhere.label) == ("", "Yes", "")
  assert len({a.dialogue, x.dialogue, nowhere.dialogue}) == 3
  path.write_text("label,speaker,text\nsad,A,Oh no.\n")
  (one,) = corpora.read("manifest", path, needs_audio=False)
  assert one.text == "Oh no."
  path.write_text("path,label,speaker\na.wav,sad,A\n")
  with pytest.raises(UserError, match="line 1: no column text"):
    corpora.read("manifest", path, needs_audio=False)


def _names(found):
  return [os.path.basename(one.path) for one in found]


def test_paths_of_windows_and_macos(write, tmp_path):
  (tmp_path / "sub").mkdir()
  name = unicodedata.normalize("NFD", "Jürgen.wav")
  (tmp_path / "sub" / name).touch()
  path = write(
    "path,label,speaker\n.\\a.wav,sad,A\nsub\\Jürgen.wav,sad,B\nB.WAV ,sad,C\n"
  )
  assert _names(corpora.read("manifest", path)) == ["a.wav", name, "b.wav"]
  (tmp_path / "B.wav").touch()
  with pytest.raises(UserError, match=r"line 4: .* as 'B.wav' and 'b.wav'"):
    corpora.read("manifest", path)


def test_a_missing_recording_says_how_many_others_are(write):
  path = write("path,label,speaker\nx.wav,sad,A\na.wav,sad,A\ny.wav,sad,A\n")
  with pytest.raises(UserError, match=r"line 2: .*x.wav \(nor of 1 other"):
    corpora.read("manifest", path)
  path.write_text(f"path,label,speaker\n{'x' * 5000},sad,A\n", "utf-8")
  with pytest.raises(UserError, match="line 2: no such file"):
    corpora.read("manifest", path)


def test_whole_floats_and_missing_values(write):
  path = write(
    "path,label,speaker,dialogue,turn,session\n"
    "a.wav,sad,1.0,7.0,3.0,5.0\nb.wav,nan,2,7,4.0,5\nc.wav,sad,2.0,nan,,\n"
  )
  a, b, c = corpora.read("manifest", path)
  assert (a.speaker, a.dialogue, a.turn, a.session) == ("1", "7", 3, "5")
  assert (b.speaker, b.dialogue, b.turn, b.session) == ("2", "7", 4, "5")
  assert (b.label, c.dialogue, c.session) == ("", "c.wav (line 4)", "")


def test_two_spellings_of_a_name_are_one(write, caplog):
  path = write(
    "path,label,speaker,dialogue\na.wav,HAPPY ,Zoë,D1\n"
    f"b.wav,ｈａｐｐｙ,{unicodedata.normalize('NFD', 'ZOË')} ,d1\n"
    "c.wav,sad,zoë,D1\n"
  )
  found = corpora.read("manifest", path)
  assert {one.speaker for one in found} == {"Zoë"}
  assert [(one.dialogue, one.turn) for one in found] == [
    *(("D1", 0), ("D1", 1), ("D1", 2))
  ]
  assert [one.label for one in found] == ["happy", "happy", "sad"]
  assert "'zoë' for 'Zoë'" in caplog.text


def test_columns_that_would_change_what_is_heard_are_named(write, caplog):
  path = write("path,label,speaker,split,start_time\na.wav,sad,A,train,1\n")
  assert len(corpora.read("manifest", path)) == 1
  (message,) = caplog.messages
  assert "columns not used: split, start_time; whatever start_time" in message


@pytest.mark.parametrize("again", ["a.wav", "./a.wav", "link.wav"])
def test_a_recording_that_is_there_again(write, tmp_path, again, caplog):
  (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
  path = write(f"path,label,speaker\na.wav,sad,A\nb.wav,sad,A\n{again},sad,A\n")
  assert _names(corpora.read("manifest", path)) == ["a.wav", "b.wav"]
  assert "mine.csv: 1 are there twice and count once" in caplog.text
  for changed in ("happy,A", "sad,B"):
    path.write_text(
      f"path,label,speaker\na.wav,sad,A\nb.wav,sad,A\n{again},{changed}\n"
    )
    why = "csv, line 4: the same recording as in .*csv, line 2, there with"
    with pytest.raises(UserError, match=why):
      corpora.read("manifest", path)


def test_words_that_are_there_again(write):
  columns = "label,speaker,text,dialogue,turn\n"
  path = write(f"{columns}sad,A,No.,d,1\nsad,A,No.,d,1\nsad,A,No.,d,2\n")
  assert len(corpora.read("manifest", path, needs_audio=False)) == 2
  path.write_text(f"{columns}sad,A,No.,d,1\nhappy,A,No.,d,1\n")
  with pytest.raises(UserError, match="there with label 'sad', here"):
    corpora.read("manifest", path, needs_audio=False)
  path.write_text("label,speaker,text\nsad,A,No.\nsad,A,No.\n")
  assert len(corpora.read("manifest", path, needs_audio=False)) == 2


def test_segments_of_recordings(write):
  columns = "path,label,speaker,start,end\n"
  path = write(
    f"{columns}a.wav,sad,A,,2.0\na.wav,happy,B,2,\nb.wav,sad,A,.5,9\n"
  )
  found = corpora.read("manifest", path)
  assert [(one.start, one.end) for one in found] == [
    *((0.0, 2.0), (2.0, None), (0.5, 9.0))
  ]
  # One segment with two labels, however it is written.
  path.write_text(f"{columns}a.wav,sad,A,0,2\na.wav,happy,A,,2.00\n")
  with pytest.raises(UserError, match="line 3: the same recording as in"):
    corpora.read("manifest", path)


@pytest.mark.parametrize(
  ("segment", "why"),
  [
    ("2,1", "line 2: end 1 is not after start 2"),
    ("2,2", "line 2: end 2 is not after start 2"),
    ("-1,2", "line 2: start '-1' is no number of seconds"),
    ('"1,5",2', "start '1,5' is no number .* point in place of the comma"),
    ("0,00:00:02", "end '00:00:02' is no number of seconds; write it as 12.5"),
    ("0,inf", "end 'inf' is no number"),
    (f"0,{'9' * 400}", "end '9*' is no number"),
  ],
)
def test_no_segments(write, segment, why):
  path = write(f"path,label,speaker,start,end\na.wav,sad,A,{segment}\n")
  with pytest.raises(UserError, match=why):
    corpora.read("manifest", path)
