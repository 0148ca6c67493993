"""The user's own CSV."""

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
    ("path,label,speaker\n,sad,A\n", "line 2: no path"),
    ("path,label,speaker\nx.wav,sad,A\n", "line 2: no such file: .*x.wav"),
    ("path,label,speaker\na.wav,sad\n", "line 2: not as many fields"),
    ("path,label,speaker\na.wav,sad,A,B\n", "line 2: not as many fields"),
    ("path,label,speaker,turn\na.wav,sad,A,one\n", "line 2: turn 'one'"),
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
