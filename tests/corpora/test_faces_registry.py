"""Finding a reader of faces by name, and the errors that all readers share."""

import os
import types

import pytest

from emojax.corpora import faces, shipped
from emojax.corpora.records import Face
from emojax.errors import UserError


def test_names_are_those_of_the_readers():
  assert faces.names() == [
    *("demo", "expw", "fer2013", "ferplus", "image_folder", "manifest"),
    "rafdb",
  ]


@pytest.mark.parametrize("name", ["rafdv", "store"])
def test_an_unknown_corpus_lists_the_known_ones(tmp_path, name):
  with pytest.raises(UserError, match=r"no such corpus.*expw.*fer2013.*rafdb"):
    faces.read(name, tmp_path)


@pytest.mark.parametrize("name", ["expw", "fer2013", "ferplus", "rafdb"])
def test_what_is_missing_and_where_it_comes_from(tmp_path, name):
  empty, other = tmp_path / "empty", tmp_path / "other"
  empty.mkdir()
  other.mkdir()
  (other / "notes.txt").write_text("no faces here")
  cases = {
    "": "path is not set",
    tmp_path / "missing": "no such file or folder",
    empty: "an empty folder",
    other: r"no .*(fer2013\.csv|fer2013new\.csv|label\.lst|list_patition)",
  }
  for path, why in cases.items():
    with pytest.raises(UserError, match=f"{why}.*expected .*http") as caught:
      faces.read(name, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_closed_folder(tmp_path, monkeypatch):
  listdir = os.listdir

  def closed(path):
    if path == str(tmp_path):
      raise PermissionError(13, "Permission denied", path)
    return listdir(path)

  monkeypatch.setattr(os, "listdir", closed)
  with pytest.raises(UserError, match=r"can not be read \(Permission denied"):
    faces.read("fer2013", str(tmp_path))


def test_a_corpus_without_any_face(tmp_path):
  (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
  with pytest.raises(UserError, match=r"no face of this corpus.*kaggle"):
    faces.read("fer2013", tmp_path)


def test_a_reader_from_outside(tmp_path):
  """Beside those that are there; nobody else's name is taken."""
  face = Face("a.png", "happy", "train", "a")
  readers = shipped.Readers(faces.__name__, "corpus of faces", "face")
  readers.register("mine", types.SimpleNamespace(read=lambda path: [face]))
  assert readers.read("mine", "") == [face]
  assert set(readers.names()) - set(faces.names()) == {"mine"}
  with pytest.raises(ValueError, match="there is a corpus of faces called"):
    readers.register("rafdb", faces)
