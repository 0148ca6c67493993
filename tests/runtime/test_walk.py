"""What a walk finds, and what it says of the rest."""

import os
import pathlib
import unicodedata

import pytest

from emojax.runtime import walk


def write(path: pathlib.Path) -> pathlib.Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b"x")
  return path


def test_folders_behind_links_are_read_once(tmp_path):
  write(tmp_path / "disk" / "Actor_05" / "e.wav")
  write(tmp_path / "here" / "Actor_01" / "a.wav")
  for name in ("Actor_05", "again"):
    (tmp_path / "here" / name).symlink_to(tmp_path / "disk" / "Actor_05")
  (tmp_path / "disk" / "Actor_05" / "round").symlink_to(tmp_path / "here")
  found = walk.find(tmp_path / "here", {".wav"})
  names = [str(path.relative_to(tmp_path / "here")) for path in found.paths]
  assert names == ["Actor_01/a.wav", "Actor_05/e.wav"]
  assert not found.others


def test_the_way_without_links_is_taken(tmp_path):
  write(tmp_path / "z" / "deep" / "a.wav")
  (tmp_path / "a").symlink_to(tmp_path / "z" / "deep")
  (path,) = walk.find(tmp_path, {".wav"}).paths
  assert path == tmp_path / "z" / "deep" / "a.wav"


def test_a_linked_file_is_a_file(tmp_path):
  target = write(tmp_path / "disk" / "a.wav")
  (tmp_path / "here").mkdir()
  (tmp_path / "here" / "b.wav").symlink_to(target)
  assert walk.find(tmp_path / "here", {".wav"}).paths == [
    tmp_path / "here" / "b.wav"
  ]


def test_other_types_are_counted_and_named(tmp_path, caplog):
  for name in ("a.wav", "B.WAV", "c.m4a", "d.m4a", "e.txt", "f", ".hidden.wav"):
    write(tmp_path / name)
  # What should be there is read, and missed; to read a pipe would wait.
  (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
  os.mkfifo(tmp_path / "pipe.wav")
  found = walk.find(tmp_path, {".wav"})
  assert [path.name for path in found.paths] == ["B.WAV", "a.wav", "gone.wav"]
  walk.warn_unread(tmp_path, found.others)
  assert caplog.messages == [
    f"{tmp_path}: 4 files of other types were not read: 2 .m4a, 1 .txt, 1 no "
    "type (c.m4a, d.m4a, e.txt, …)",
    f"{tmp_path}: 1 file of another kind (link to nothing, pipe, closed "
    "folder) was not read: 1 .wav (pipe.wav)",
  ]


def test_nothing_is_said_of_nothing(tmp_path, caplog):
  assert walk.find(tmp_path / "none", {".wav"}) == ([], [])
  walk.warn_unread(tmp_path, [])
  assert not caplog.messages


@pytest.mark.parametrize(
  "meant",
  [
    "clips/Jürgen 1.wav",
    "clips\\Jürgen 1.wav",
    unicodedata.normalize("NFD", "clips/Jürgen 1.wav"),
    "Clips/jürgen 1.WAV",
  ],
)
def test_another_spelling_of_a_path_is_located(tmp_path, meant):
  path = write(
    tmp_path / "clips" / unicodedata.normalize("NFC", "Jürgen 1.wav")
  )
  assert walk.locate(tmp_path / meant) == path


def test_a_path_that_may_mean_two_files_means_none(tmp_path):
  write(tmp_path / "a.wav")
  write(tmp_path / "A.wav")
  assert walk.locate(tmp_path / "A.WAV") is None
  assert walk.locate(tmp_path / "A.wav") == tmp_path / "A.wav"
  assert walk.locate(tmp_path / "b" / "c.wav") is None
