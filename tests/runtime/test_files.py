"""Files that are whole or not there, whatever interrupts their writing."""

import contextlib
import errno
import os
import resource
import signal

import pytest

from emojax.errors import UserError
from emojax.runtime import files


@contextlib.contextmanager
def file_size_limit(size):
  """A limit of the system: writing beyond it fails with EFBIG."""
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_file_in_a_new_folder(tmp_path):
  path = tmp_path / "a" / "b" / "c.txt"
  with files.whole(path) as temporary:
    assert temporary.suffix == ".txt"  # NumPy and Matplotlib go by it.
    assert temporary.parent == path.parent
    temporary.write_text("new")
    assert not path.exists()
  assert path.read_text() == "new"
  assert os.listdir(path.parent) == ["c.txt"]


def test_what_killed_processes_left_is_swept(tmp_path):
  kept = [".lock", ".hidden", "c.1", "d/.e.txt", ".1", ".a.12345678/b"]
  for name in (*kept, ".c.txt.0123abcd.txt", "d/.e.99999999"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
  files.sweep(tmp_path)
  left = {p for p in tmp_path.rglob("*") if p.is_file()}
  assert left == {tmp_path / name for name in kept}


def test_two_writers_of_one_number_do_not_meet(tmp_path):
  """Each container's job is process 1, and they share a cache."""
  path = tmp_path / "c.txt"
  with files.whole(path) as one:
    one.write_text("first")
    with files.whole(path) as other:
      other.write_text("half")
      assert one != other
    assert path.read_text() == "half"
  assert path.read_text() == "first"
  assert os.listdir(tmp_path) == ["c.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interruption_leaves_the_old_file(tmp_path, error):
  path = tmp_path / "c.txt"
  path.write_text("old")
  with pytest.raises(error), files.whole(path) as temporary:
    temporary.write_text("half")
    raise error
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["c.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
  path = tmp_path / "c.bin"
  path.write_bytes(b"old")
  with (
    file_size_limit(1000),
    pytest.raises(UserError, match="no room on the disk") as caught,
    files.whole(path) as temporary,
  ):
    temporary.write_bytes(bytes(5000))
  assert str(path) in str(caught.value)
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["c.bin"]


def test_a_file_system_that_takes_no_files():
  with (
    pytest.raises(UserError, match=r"/proc/.* can not be written"),
    files.whole("/proc/c.txt") as temporary,
  ):
    temporary.write_text("new", encoding="utf-8")


def test_a_file_where_the_folder_should_be(tmp_path):
  (tmp_path / "run").write_text("I am a file")
  for path in (tmp_path / "run" / "c.txt", tmp_path / "run" / "a" / "c.txt"):
    with (
      pytest.raises(UserError, match="can not be written") as caught,
      files.whole(path) as temporary,
    ):
      temporary.write_text("new")
    assert str(path) in str(caught.value)
  assert (tmp_path / "run").read_text() == "I am a file"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_takes_no_file(tmp_path, number):
  with (
    pytest.raises(UserError, match="choose another folder"),
    files.whole(tmp_path / "c.txt"),
  ):
    raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are(tmp_path):
  with pytest.raises(FileNotFoundError), files.whole(tmp_path / "c.txt"):
    raise FileNotFoundError(errno.ENOENT, "something else")


def test_the_error_of_a_cache_names_what_moves_it(cache):
  cache.parent.write_text("no folder")
  why = "set XDG_CACHE_HOME to a folder"
  with pytest.raises(UserError, match=why), files.whole(cache / "clips" / "a"):
    pass


def test_a_user_without_a_home(monkeypatch):
  def expand(*_):
    raise RuntimeError("could not determine the home directory")

  monkeypatch.setattr(files.platformdirs, "user_cache_dir", expand)
  with pytest.raises(UserError, match="has no home folder"):
    files.cache_folder()
