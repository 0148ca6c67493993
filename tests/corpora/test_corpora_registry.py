"""Finding a reader by name, and the errors that all readers share."""

import types

import pytest

from configs import common
from emojax.corpora import downloads, records, shipped
from emojax.corpora import speech as corpora
from emojax.corpora.records import Utterance
from emojax.errors import UserError


def test_an_unknown_corpus_lists_the_known_ones(tmp_path):
  with pytest.raises(UserError, match=r"no such corpus.*iemocap.*ravdess"):
    corpora.read("ravdes", tmp_path)


@pytest.mark.parametrize(
  "name", ["ravdess", "iemocap", "crema_d", "emodb", "savee", "tess"]
)
def test_folders_that_hold_nothing(tmp_path, name):
  empty, other = tmp_path / "empty", tmp_path / "other"
  empty.mkdir()
  other.mkdir()
  (other / "notes.txt").write_text("no audio here")
  cases = {
    "": "path is not set",
    tmp_path / "missing": "no such file or folder",
    empty: "an empty folder",
    other: "no audio of this corpus found",
  }
  for path, why in cases.items():
    with pytest.raises(
      UserError, match=f"{why}.*expected .*https?://"
    ) as caught:
      corpora.read(name, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_can_not_be_downloaded_says_where_it_is(tmp_path):
  for corpus, why in (
    ("savee", "savee: can not be .*on request: http.*surrey.*AudioData"),
    ("iemocap", "on request: https.*Session1.*can be downloaded: crema_d"),
    ("demo", "'demo': nothing to download"),
    ("ravdes", "no such corpus"),
  ):
    with pytest.raises(UserError, match=why) as caught:
      corpora.fetch(corpus, tmp_path)
    assert "\n" not in str(caught.value)


def _reader(*utterances, **stated):
  return types.SimpleNamespace(read=lambda path: utterances, **stated)


HELLO = Utterance("a.wav", "sad", "A", "d", 0, "1", "hello")


@pytest.fixture
def readers():
  """Those that are shipped, and some that need no files, or a path."""
  readers = shipped.Readers(corpora.__name__, "corpus", "audio")
  readers.register("one", _reader(HELLO))
  readers.register("two", _reader(HELLO, HELLO))
  readers.register("ravdess_like", _reader(HELLO, LAYOUT="x", SOURCE="y"))
  return readers


def _data(**fields):
  data = common.data()
  data.update(fields)
  return data


def test_a_study_of_several_corpora(readers, tmp_path):
  assert readers.read_all(_data(corpus="one")) == [("one", [HELLO])]
  found = readers.read_all(
    _data(corpus="two, ravdess_like", path=f",{tmp_path.parent}")
  )
  assert found == [("two", [HELLO] * 2), ("ravdess_like", [HELLO])]
  # With one corpus the path is taken whole.
  folder = tmp_path / "a, b"
  folder.mkdir()
  (folder / "file").touch()
  for path in (str(folder), f'"{folder}"'):
    data = _data(corpus="ravdess_like", path=path)
    assert readers.read_all(data) == [("ravdess_like", [HELLO])]
  data = _data(corpus="one,ravdess_like", path=f',"{folder}"')
  assert readers.read_all(data)[1] == ("ravdess_like", [HELLO])


def test_no_reader_can_forget_that_spellings_are_one(readers, caplog):
  other = Utterance("b.wav", "Sad ", "a ", "D", 0, "1", "hello")
  readers.register("three", _reader(HELLO, other))
  first, second = readers.read("three", "")
  assert first == HELLO
  assert (second.label, second.speaker, second.dialogue) == ("sad", "A", "d")
  assert "three: speaker: taken as one" in caplog.text
  assert "three: 1 of 2 utterances have the turn of another" in caplog.text


@pytest.mark.parametrize(
  ("corpus", "path", "why"),
  [
    ("one,one", "", "config.data.corpus = 'one,one': name each corpus once"),
    ("one,two", "a,b,c", "config.data.path = 'a,b,c': 3 paths for 2 corpora"),
    ("one,three", "", "config.data.corpus = 'three': no such corpus"),
    ("one,ravdess", "", "config.data.path is not set; expected"),
  ],
)
def test_slips_in_the_names_of_corpora(readers, corpus, path, why):
  with pytest.raises(UserError, match=why):
    readers.read_all(_data(corpus=corpus, path=path))


def test_downloads_where_there_is_no_path(
  readers, monkeypatch, cache, tmp_path
):
  fetched = []

  def fetch(corpus, folder):
    fetched.append((corpus, folder))
    return tmp_path.parent

  monkeypatch.setattr(downloads, "names", lambda: ["ravdess_like"])
  monkeypatch.setattr(downloads, "fetch", fetch)
  # What needs no files is not fetched, nor what has a path.
  data = _data(corpus="one,ravdess_like", download=True)
  assert [name for name, _ in readers.read_all(data)] == ["one", "ravdess_like"]
  data = _data(corpus="ravdess_like", path=str(tmp_path.parent), download=True)
  readers.read_all(data)
  assert fetched == [("ravdess_like", cache / "downloads")]


def test_text_alone_where_no_audio_features_are_asked_for(readers):
  silent = Utterance("", "sad", "A", "d", 0, "1", "hello")
  reader = _reader(HELLO)
  reader.read_text = lambda path: [silent]
  readers.register("both", reader)
  for features, expected in (("none", silent), ("eGeMAPSv02", HELLO)):
    data = _data(corpus="both")
    data.audio_features = features
    assert readers.read_all(data) == [("both", [expected])]
  assert readers.read_all(_data(corpus="both")) == [("both", [HELLO])]


def test_a_registered_corpus_may_be_replaced_but_no_shipped_one(readers):
  """A config file that registers one may be loaded again."""
  readers.register("one", _reader(HELLO, HELLO))
  assert len(readers.read("one", "")) == 2
  with pytest.raises(ValueError, match="there is a corpus called 'ravdess'"):
    readers.register("ravdess", _reader())


def test_merged_corpora_share_no_names():
  merged, names = records.merge([("one", [HELLO])])
  assert (merged, names) == ([HELLO], ["one"])
  isolated = Utterance("b.wav", "sad", "A", "d", 0)
  merged, names = records.merge([("one", [HELLO]), ("two", [isolated])])
  assert names == ["one", "two"]
  assert [(u.speaker, u.dialogue, u.session) for u in merged] == [
    ("one:A", "one:d", "one:1"),
    ("two:A", "two:d", ""),
  ]
