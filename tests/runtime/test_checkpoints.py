"""Checkpoints: round trips, damage of every kind, and a disk that is full."""

import errno
import gc
import logging
import os
import pathlib
import shutil
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.errors import UserError
from emojax.runtime import sharding
from emojax.runtime.checkpoints import (
  Checkpoints,
  _sum_of_hashes,
  _sum_of_hashes_here,
)

# What Orbax leaves behind when it meets damage; it is raised as well.
ignore_leftovers = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


def make_state(round_: int) -> dict:
  """Every kind of leaf; no two rounds share a value."""
  rng = np.random.default_rng(round_)
  return {
    "TS 1234, train/C1": {
      "kernel": jnp.asarray(rng.normal(size=(64, 300)), jnp.float32),
      "half": jnp.asarray(rng.normal(size=7), jnp.bfloat16),
      "step": jnp.int32(round_),
    },
    "average": None,
    "key": jax.random.key(round_),
  }


def make_history(round_: int) -> dict[str, np.ndarray]:
  return {
    "TS 1234, train/C1/emotion_loss": np.arange(round_) / np.float32(7),
    "TS 1234, train/confusion_matrix": np.full((round_, 2, 3, 3), round_),
  }


def save(folder, *rounds) -> None:
  checkpoints = Checkpoints(folder)
  for round_ in rounds:
    checkpoints.save(round_, make_state(round_), make_history(round_))
  checkpoints.close()


def restore(folder):
  checkpoints = Checkpoints(folder)
  restored = checkpoints.restore(lambda: make_state(0))
  checkpoints.close()
  gc.collect()
  return restored


def plain(leaf) -> np.ndarray:
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    return np.asarray(jax.random.key_data(leaf))
  return np.asarray(leaf)


def check(restored, expected_round: int) -> None:
  """The restored round is the expected one, bit for bit."""
  round_, state, history = restored
  assert round_ == expected_round
  expected = make_state(round_)
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for one, other in zip(
    jax.tree.leaves(state), jax.tree.leaves(expected), strict=True
  ):
    assert one.dtype == other.dtype
    assert one.sharding == other.sharding
    np.testing.assert_array_equal(plain(one), plain(other))
  expected = make_history(round_) if round_ else {}
  assert history.keys() == expected.keys()
  for name, values in history.items():
    assert type(values) is np.ndarray
    assert values.dtype == expected[name].dtype
    np.testing.assert_array_equal(values, expected[name])


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> None:
  """Collections here see what is made here, not all tests before."""
  gc.freeze()


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("saved") / "checkpoints"
  save(folder, 1, 2)
  return folder


@pytest.fixture
def saved(two_rounds, tmp_path) -> pathlib.Path:
  """A copy of a folder with the rounds 1 and 2, to be damaged."""
  return shutil.copytree(two_rounds, tmp_path / "checkpoints")


def largest_file(folder: pathlib.Path) -> pathlib.Path:
  return max(folder.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())


def test_an_empty_folder_is_round_0(tmp_path):
  check(restore(tmp_path / "new"), 0)


def test_round_trip_of_the_newest(saved):
  check(restore(saved), 2)


def test_the_last_two_are_kept(tmp_path):
  save(tmp_path, 1, 2, 3, 4)
  assert sorted(os.listdir(tmp_path)) == ["3", "4"]


def test_a_run_that_goes_on_saves_over_nothing(saved):
  save(saved, 3)
  assert sorted(os.listdir(saved)) == ["2", "3"]
  check(restore(saved), 3)


def test_a_state_that_is_donated_after_the_save(tmp_path):
  """Saving goes on in the background while the next step takes the memory."""
  step = jax.jit(lambda state: state * 0 - 1, donate_argnums=0)
  state = {"x": jnp.arange(1 << 18, dtype=jnp.float32)}
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, state, make_history(1))
  state["x"] = step(state["x"])
  checkpoints.close()
  checkpoints = Checkpoints(tmp_path)
  _, restored, _ = checkpoints.restore(lambda: state)
  checkpoints.close()
  np.testing.assert_array_equal(restored["x"], np.arange(1 << 18))


def test_shardings_come_back(tmp_path):
  mesh = sharding.make_mesh()
  state = {
    "runs": sharding.place(jnp.arange(8.0), mesh, sharding.REPLICA),
    "step": sharding.place(jnp.int32(3), mesh, sharding.REPLICATED),
  }
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, state, make_history(1))
  checkpoints.close()
  checkpoints = Checkpoints(tmp_path)
  _, restored, _ = checkpoints.restore(lambda: state)
  checkpoints.close()
  for name in state:
    assert restored[name].sharding == state[name].sharding
    np.testing.assert_array_equal(restored[name], state[name])


def truncate(folder):
  path = largest_file(folder)
  os.truncate(path, path.stat().st_size // 2)


def flip(folder):
  """One byte in the middle: Orbax takes it for a number like any other."""
  path = largest_file(folder)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0x10
  path.write_bytes(content)


def flip_all(folder):
  path = largest_file(folder)
  path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))


def delete(folder):
  largest_file(folder).unlink()


def delete_array_metadata(folder):
  """Orbax gives back a key of random numbers as plain integers then."""
  (folder / "state" / "array_metadatas" / "process_0").unlink()


def empty(folder):
  for path in folder.rglob("*"):
    if path.is_file():
      os.truncate(path, 0)


def clear(folder):
  shutil.rmtree(folder)
  folder.mkdir()


DAMAGE = (
  truncate,
  flip,
  flip_all,
  delete,
  delete_array_metadata,
  empty,
  clear,
)


@ignore_leftovers
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
  saved, damage, caplog
):
  damage(saved / "2")
  with caplog.at_level(logging.WARNING, "emojax"):
    check(restore(saved), 1)
  (message,) = [r.message for r in caplog.records if r.name.startswith("emoj")]
  assert message.startswith(f"checkpoint 2 in {saved} is damaged")
  assert "moved to 2.damaged-0" in message
  assert "\n" not in message
  assert sorted(os.listdir(saved)) == ["1", "2.damaged-0"]
  save(saved, 2)  # Its place is free.
  check(restore(saved), 2)


@ignore_leftovers
def test_nothing_sound_is_left(saved, caplog):
  flip(saved / "2")
  delete(saved / "1")
  with caplog.at_level(logging.WARNING, "emojax"):
    check(restore(saved), 0)
  found = [r.message[:12] for r in caplog.records if r.name.startswith("emoj")]
  assert found == ["checkpoint 2", "checkpoint 1"]
  assert sorted(os.listdir(saved)) == ["1.damaged-0", "2.damaged-0"]


def test_what_is_damaged_twice_is_kept_twice(saved):
  for _ in range(2):
    flip(saved / "2")
    check(restore(saved), 1)
    save(saved, 2)
  assert sorted(os.listdir(saved)) == ["1", "2", "2.damaged-0", "2.damaged-1"]


def wrapped(cause: Exception) -> Exception:
  """As Orbax raises it."""
  error = Exception("Encountered error while reading array index")
  error.__cause__ = cause
  return error


OPEN_FILES = "UNKNOWN: Error reading: Failed to open [os_error_code='24']"


@pytest.mark.parametrize(
  ("error", "raised"),
  [
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB"), RuntimeError),
    (wrapped(RuntimeError("RESOURCE_EXHAUSTED: 9 GB")), RuntimeError),
    (ValueError("Gloo all-reduce failed: connection closed"), ValueError),
    (OSError(errno.ESTALE, "Stale file handle"), UserError),
    (OSError(errno.EMFILE, "Too many open files"), UserError),
    (wrapped(ValueError(OPEN_FILES)), UserError),
    (MemoryError(), UserError),
    (AssertionError("a mistake of ours"), AssertionError),
  ],
)
def test_what_the_machine_lacks_is_no_damage(
  saved, error, raised, monkeypatch, caplog
):
  """Each of these has been taken for damage, and both checkpoints removed."""

  def fail(*_):
    raise error

  with monkeypatch.context() as patch, pytest.raises(raised) as caught:
    patch.setattr(Checkpoints, "_read", fail)
    restore(saved)
  if raised is UserError:
    assert str(caught.value).startswith(f"{saved / '2'} can not be read here")
  assert not [r for r in caplog.records if r.name.startswith("emoj")]
  assert sorted(os.listdir(saved)) == ["1", "2"]
  check(restore(saved), 2)


def test_a_system_that_refuses_to_open_files(saved):
  """TensorStore's own words for it."""
  path = largest_file(saved / "2")
  content = path.read_bytes()
  path.unlink()
  path.symlink_to(path)
  with pytest.raises(UserError, match="can not be read here"):
    restore(saved)
  path.unlink()
  path.write_bytes(content)
  check(restore(saved), 2)


def test_the_first_state_is_gone_before_another_one_is_read(saved, monkeypatch):
  """A state that fills more than half of the memory can be restored, too."""
  made, alive = [], []

  def init():
    state = make_state(0)
    made.extend(map(weakref.ref, jax.tree.leaves(state)))
    return state

  read = Checkpoints._read

  def look(*given):
    alive.append(sum(one() is not None for one in made))
    return read(*given)

  monkeypatch.setattr(Checkpoints, "_read", look)
  checkpoints = Checkpoints(saved)
  check(checkpoints.restore(init), 2)
  checkpoints.close()
  assert len(made) == 4
  assert alive == [0]


def test_what_a_killed_save_leaves_is_no_checkpoint(saved):
  half = saved / "3.orbax-checkpoint-tmp"
  shutil.copytree(saved / "2" / "state", half / "state")
  check(restore(saved), 2)
  assert sorted(os.listdir(saved)) == ["1", "2"]


def test_other_shapes_are_an_error_and_no_damage(saved):
  state = make_state(0)
  state["TS 1234, train/C1"]["kernel"] = jnp.zeros((72, 301))
  checkpoints = Checkpoints(saved)
  with pytest.raises(UserError, match="by another version") as caught:
    checkpoints.restore(lambda: state, adapt=lambda state: state)
  checkpoints.close()
  assert str(saved / "2") in str(caught.value)
  assert sorted(os.listdir(saved)) == ["1", "2"]
  check(restore(saved), 2)


def test_more_rows_than_these_devices_have(tmp_path):
  """The number of runs is filled up to that of the devices."""
  mesh = sharding.make_mesh()
  rows = sharding.place(jnp.arange(12.0).reshape(4, 3), mesh, sharding.REPLICA)
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, {"runs": rows}, make_history(1))
  checkpoints.close()
  fewer = {"runs": rows[:3]}
  checkpoints = Checkpoints(tmp_path)
  adapted = checkpoints.restore(
    lambda: fewer, lambda s: {"runs": s["runs"][:3] + 1}
  )
  with pytest.raises(UserError, match="by another version"):
    checkpoints.restore(lambda: fewer)
  checkpoints.close()
  assert adapted[0] == 1
  np.testing.assert_array_equal(
    adapted[1]["runs"], np.arange(9.0).reshape(3, 3) + 1
  )


@pytest.mark.parametrize(
  "dtype", ["float32", "bfloat16", "int8", "uint32", "bool"]
)
def test_every_bit_and_its_place_count_in_a_checksum(dtype):
  rng = np.random.default_rng(0)
  values = jnp.asarray(rng.integers(0, 2, (5, 7)), dtype)
  known = int(_sum_of_hashes(values))
  assert known == int(_sum_of_hashes_here(np.asarray(values)))
  flipped = values.at[3, 2].set((values[3, 2] == 0).astype(dtype))
  assert known != int(_sum_of_hashes(flipped))
  # The same bits elsewhere are others.
  assert known != int(_sum_of_hashes(values[::-1]))
  assert known != int(_sum_of_hashes(values.reshape(7, 5)[::-1]))


@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_a_checksum_of_one_value_and_of_none(shape):
  values = jnp.full(shape, 3.5)
  known = int(_sum_of_hashes(values))
  assert known == int(_sum_of_hashes_here(np.asarray(values)))


def fill(disk, left: int) -> None:
  free = shutil.disk_usage(disk).free
  (disk / "other").write_bytes(bytes(free - left))


@ignore_leftovers
@pytest.mark.parametrize(
  "left",
  [
    pytest.param(40_000, id="seen before"),
    pytest.param(120_000, id="seen while writing"),  # Orbax adds files.
  ],
)
def test_a_full_disk(small_disk, left):
  folder = small_disk / "run" / "checkpoints"
  save(folder, 1)
  fill(small_disk, left)
  with pytest.raises(UserError, match="no room on the disk") as caught:
    save(folder, 2)
  gc.collect()
  message = str(caught.value)
  assert str(folder) in message
  assert "the checkpoint of round 1 is kept" in message
  assert "\n" not in message
  assert os.listdir(folder) == ["1"]
  check(restore(folder), 1)
  (small_disk / "other").unlink()
  save(folder, 2)
  check(restore(folder), 2)


@ignore_leftovers
def test_a_full_disk_before_the_first_checkpoint(small_disk):
  fill(small_disk, 40_000)
  with pytest.raises(UserError, match=r"none yet.*free some space"):
    save(small_disk / "checkpoints", 1)
  gc.collect()
  assert not os.listdir(small_disk / "checkpoints")
