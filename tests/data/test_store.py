"""What is computed once: as it was computed, whole or not there."""

import contextlib
import errno
import fcntl
import os
import pathlib
import pickle
import stat
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np
import pytest

from emojax.data import store
from emojax.errors import UserError

LENGTHS = [3, 1, 5, 2]
STARTS = [0, 3, 4, 9]


def sequences(dtype=np.float32):
  rng = np.random.default_rng(0)
  return [rng.normal(size=(n, 2, 4)).astype(dtype) for n in LENGTHS]


def backwards(values):
  def compute(writer):
    for start, one in reversed(list(zip(STARTS, values, strict=True))):
      writer.put(start, one)
    return {}

  return compute


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_each_sequence_as_it_was(tmp_path, dtype):
  values = sequences(dtype)
  found = store.Sequences(
    store.open_or_create(tmp_path / "a" / "store", backwards(values)), LENGTHS
  )
  assert len(found) == 4
  np.testing.assert_array_equal(found.lengths, LENGTHS)
  content = pickle.dumps(found)
  assert len(content) < 1000
  for copy in (found, pickle.loads(content)):
    for index, expected in enumerate(values):
      assert copy[index].dtype == dtype
      np.testing.assert_array_equal(copy[index], expected)
  assert [p.name for p in (tmp_path / "a").iterdir()] == ["store"]


# More stores than files may be open, all of them in use at once.
_MANY = """
import pathlib, resource, sys
import numpy as np
from emojax.data import store
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

def compute(number):
  def write(writer):
    writer.append(np.full((4, 3), number, np.float32))
    return {}
  return write

folder, found = pathlib.Path(sys.argv[1]), []
for number in range(100):
  kept = store.open_or_create(folder / str(number), compute(number))
  found.append(store.Sequences(kept, [3, 1]))
values = [one[0] for one in found]
assert all((one == i).all() for i, one in enumerate(values)), values
"""


def test_more_stores_than_files_may_be_open(tmp_path):
  subprocess.run(
    [sys.executable, "-W", "error", "-c", _MANY, str(tmp_path)], check=True
  )


def test_a_sequence_that_was_cut_off_meanwhile(tmp_path):
  values = sequences()
  found = store.Sequences(
    store.open_or_create(tmp_path / "store", backwards(values)), LENGTHS
  )
  path = tmp_path / "store" / "values.bin"
  path.write_bytes(path.read_bytes()[:-5])
  np.testing.assert_array_equal(found[1], values[1])
  with pytest.raises(UserError, match=r"values.bin: damaged"):
    found[3]


def test_rows_as_they_come_and_small_arrays(tmp_path):
  images = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)

  def compute(writer):
    for image in images:
      writer.append(image[None])
    return {"name": np.array(list("abcdé")), "votes": np.zeros((5, 0))}

  found = store.open_or_create(tmp_path / "store", compute)
  assert found.arrays["name"].tolist() == list("abcdé")
  assert found.arrays["votes"].shape == (5, 0)
  assert set(found.arrays) == {"name", "votes"}
  np.testing.assert_array_equal(found.values, images)
  assert isinstance(found.values, np.memmap)
  assert not found.values.flags.writeable


def test_rows_of_another_shape_are_a_mistake(tmp_path):
  def compute(writer):
    writer.append(np.zeros((1, 2)))
    writer.append(np.zeros((1, 3)))

  with pytest.raises(ValueError, match=r"\(3,\).* among .*\(2,\)"):
    store.open_or_create(tmp_path / "store", compute)
  assert not list(tmp_path.iterdir())


def test_computed_once(tmp_path):
  values = sequences()
  store.open_or_create(tmp_path / "store", backwards(values))

  def again(writer):
    raise AssertionError("computed twice")

  found = store.open_or_create(tmp_path / "store", again)
  np.testing.assert_array_equal(found.values[4:9], values[2])


def test_an_interruption_leaves_nothing(tmp_path):
  def interrupted(writer):
    writer.append(sequences()[0])
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    store.open_or_create(tmp_path / "store", interrupted)
  assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  for pwrite in (full, lambda *_: 1):
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(UserError, match="no room on the disk"):
      store.open_or_create(tmp_path / "store", backwards(sequences()))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("large", [True, False])
def test_a_small_disk(small_disk, large):
  def compute(writer):
    size = 2_000_000
    writer.append(np.zeros((1, size if large else 1), np.uint8))
    return {} if large else {"much": np.zeros(size, np.uint8)}

  with pytest.raises(UserError, match="no room on the disk"):
    store.open_or_create(small_disk / "store", compute)
  assert not list(small_disk.iterdir())
  with pytest.raises(UserError, match="no room on the disk"):
    store.Vectors(small_disk).put("abc", np.zeros(1_000_000, np.float32))
  assert not [path for path in small_disk.rglob("*") if path.is_file()]


def test_the_first_of_two_processes_wins(tmp_path):
  values = sequences()

  def overtaken(writer):
    store.open_or_create(tmp_path / "store", backwards(values))
    return backwards(values)(writer)

  found = store.open_or_create(tmp_path / "store", overtaken)
  np.testing.assert_array_equal(found.values[:3], values[0])
  assert [p.name for p in tmp_path.iterdir()] == ["store"]


_COMPUTES = """
import os, pathlib, signal, sys
import numpy as np
from emojax.data import store

def compute(writer):
  writer.append(np.zeros((4, 3), np.float32))
  if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
  print("begun", flush=True)
  sys.stdin.read()
  return {}

store.open_or_create(pathlib.Path(sys.argv[1]), compute)
"""


def test_what_killed_processes_left_goes(tmp_path):
  """And nothing that somebody is making, or has touched within the hour."""

  def begin(name, how):
    command = [sys.executable, "-c", _COMPUTES, str(tmp_path / name), how]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, **pipes)

  def begun():
    names = (path.name for path in tmp_path.iterdir())
    return {name.split(".")[1] for name in names if name[0] == "."}

  with begin("killed", "killed") as killed, begin("living", "") as living:
    assert killed.wait() == -9
    assert living.stdout.readline() == b"begun\n"
    store.open_or_create(tmp_path / "one", backwards(sequences()))
    assert begun() == {"killed", "living"}
    (tmp_path / ".older.0123abcd").mkdir()  # Than there were locks.
    for path in tmp_path.rglob("*"):
      os.utime(path, (0, 0))
    store.open_or_create(tmp_path / "two", backwards(sequences()))
    assert begun() == {"living"}
    living.communicate()
  assert living.returncode == 0
  assert {p.name for p in tmp_path.iterdir()} == {"one", "two", "living"}
  assert store.read(tmp_path / "living").shape == (4, 3)


def test_nobody_is_known_to_be_dead_on_a_disk_without_locks(
  tmp_path, monkeypatch, caplog
):
  def lockless(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, "flock", lockless)
  work = tmp_path / ".other.0123abcd"
  work.mkdir()
  os.utime(work, (0, 0))
  store.open_or_create(tmp_path / "store", backwards(sequences()))
  assert work.is_dir() and not caplog.messages
  assert not list(tmp_path.glob(".store*"))


@pytest.mark.parametrize("name", ["values.bin", "index.npz"])
def test_damage_is_named(tmp_path, name):
  store.open_or_create(tmp_path / "store", backwards(sequences()))
  path = tmp_path / "store" / name
  path.write_bytes(path.read_bytes()[:-5])
  with pytest.raises(UserError, match=rf"{name}: damaged .*remove its folder"):
    store.open_or_create(tmp_path / "store", backwards(sequences()))
  path.unlink()
  if name == "index.npz":
    return
  with pytest.raises(UserError, match="damaged"):
    store.open_or_create(tmp_path / "store", backwards(sequences()))


def test_vectors(tmp_path):
  kept = store.Vectors(tmp_path / "vectors")
  kept.make()
  vector = np.arange(3, dtype=np.float32)
  assert kept.get("abcd") is None
  kept.put("abcd", vector)
  np.testing.assert_array_equal(
    pickle.loads(pickle.dumps(kept)).get("abcd"), vector
  )
  (path,) = (tmp_path / "vectors").rglob("*.npy")
  path.write_bytes(path.read_bytes()[:-1])
  assert kept.get("abcd") is None
  np.save(path, np.zeros((2, 2), np.float32))
  assert kept.get("abcd") is None
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="choose another folder"):
    store.Vectors(tmp_path / "file" / "vectors").make()


@contextlib.contextmanager
def somebody_else():
  """Whoever runs the tests, or nobody where that is root, who may read all."""
  if os.geteuid():
    yield
    return
  os.seteuid(65534)
  try:
    yield
  finally:
    os.seteuid(0)


@pytest.fixture
def shared():
  """A folder that other users can enter, unlike `tmp_path`."""
  with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    yield pathlib.Path(folder)


def test_other_users_read_what_is_kept(shared):
  mask = os.umask(0o022)
  try:
    store.open_or_create(shared / "store", backwards(sequences()))
  finally:
    os.umask(mask)
  assert stat.S_IMODE((shared / "store").stat().st_mode) == 0o755
  with somebody_else():
    found = store.open_or_create(shared / "store", backwards(sequences()))
    np.testing.assert_array_equal(found.values[4:9], sequences()[2])


@pytest.mark.parametrize("closed", ["store", "store/index.npz", "values"])
def test_what_others_may_not_read_is_one_line(shared, closed):
  store.open_or_create(shared / "store", backwards(sequences()))
  store.Vectors(shared / "values").put("abcd", np.zeros(3, np.float32))
  (shared / closed).chmod(0)
  with (
    somebody_else(),
    pytest.raises(UserError, match=rf"/{closed}.*can not be read"),
  ):
    if closed == "values":
      store.Vectors(shared / "values").get("abcd")
    store.open_or_create(shared / "store", backwards(sequences()))
  (shared / closed).chmod(0o755)
