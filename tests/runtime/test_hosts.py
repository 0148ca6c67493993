"""Two real processes on this machine, as on two hosts of a cluster."""

import contextlib
import pathlib
import re
import signal
import socket
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from emojax import loop, runs
from emojax.errors import UserError
from emojax.runtime import hosts, locks, process, sharding
from emojax.runtime.sharding import REPLICA, REPLICATED
from tests import processes

NUM_RUNS = 3  # Two devices hold four, one holds three.


@contextlib.contextmanager
def two(main, *arguments):
  """Begins `main` in two processes; each gets its number and a port first."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  with (
    processes.Process(main, [str(port), "0", *arguments]) as first,
    processes.Process(main, [str(port), "1", *arguments]) as second,
  ):
    yield first, second


def join(argv: list[str]) -> tuple[int, list[str]]:
  """This process's number, and its further arguments."""
  _, port, number, *rest = argv
  process.begin()
  hosts.begin(f"127.0.0.1:{port}", int(number), 2)
  return int(number), rest


def agree(argv):
  number, (path,) = join(argv)
  assert hosts.is_first() == (number == 0)
  assert hosts.asked(lambda: {"who": number}) == {"who": 0}
  assert hosts.largest(0) == 0
  assert hosts.largest(15 * number) == 15
  assert hosts.share([*"abcde"]) == [[*"ace"], [*"bd"]][number]
  with hosts.first_alone():
    if hosts.is_first():
      time.sleep(0.5)
      pathlib.Path(path).touch()
    assert pathlib.Path(path).exists()
  mesh = sharding.make_mesh(2)
  by_row = jax.sharding.NamedSharding(mesh, sharding.DATA)
  mine = sharding.local_rows(6, by_row)
  assert mine.tolist() == [[0, 1, 2], [3, 4, 5]][number]
  rows = np.arange(12.0).reshape(6, 2)
  placed = sharding.place_rows({"x": rows[mine]}, mine, 6, by_row)
  np.testing.assert_array_equal(sharding.fetch(placed)["x"], rows)
  cut = sharding.place(rows, mesh, sharding.DATA)
  assert [s.data.shape for s in cut.addressable_shards] == [(3, 2)]
  whole = sharding.place(cut, mesh, REPLICATED)
  np.testing.assert_array_equal(np.asarray(whole), rows)
  key = sharding.place(jax.random.key(7), mesh, REPLICATED)
  assert jax.random.bits(key) == jax.random.bits(jax.random.key(7))
  with hosts.explained():
    raise UserError("both say so")


def test_what_they_agree_on(tmp_path):
  with two(agree, str(tmp_path / "there")) as both:
    (_, first), (_, second) = (one.communicate() for one in both)
  assert [one.returncode for one in both] == [2, 2], first + second
  assert first.endswith("error: both say so\n")
  assert "both" not in second


def fail_alone(argv):
  number, _ = join(argv)
  with hosts.explained():
    if number == 0:
      raise UserError("the folder is another's")
    hosts.asked(lambda: None)


def test_an_error_of_one_is_no_reason_to_begin_again():
  with two(fail_alone) as both:
    (_, first), (_, second) = (one.communicate() for one in both)
  assert [one.returncode for one in both] == [2, hosts.LOST], first + second
  assert first == "error: the folder is another's\n"


def fail_for_all(argv):
  number, (where, folder) = join(argv)

  def fail():
    assert number == 0
    raise UserError("the data are nowhere")

  with hosts.explained():
    if where == "asked":
      hosts.asked(fail)
    elif where == "first alone":
      with hosts.first_alone():
        fail()
    else:
      config = ml_collections.ConfigDict({"checkpoint_every": 1})
      runs.complete(config, pathlib.Path(folder), lambda grid: fail())
  raise AssertionError("it goes on")


@pytest.mark.parametrize(
  ("where", "said"),
  [
    ("asked", "the data are nowhere"),
    ("first alone", "the data are nowhere"),
    ("a folder in use", "is in use by another process"),
  ],
)
def test_a_users_error_of_the_first_is_that_of_all(tmp_path, where, said):
  """A scheduler would begin anew on anything else."""
  lock = locks.take(tmp_path / ".lock")
  with two(fail_for_all, where, str(tmp_path)) as both:
    (_, first), (_, second) = (one.communicate() for one in both)
  locks.release(lock)
  assert [one.returncode for one in both] == [2, 2], first + second
  assert first.startswith("error: ") and said in first
  assert first.count("\n") == 1, first
  assert not second


def make_a_mistake(argv):
  number, _ = join(argv)
  with hosts.explained(), hosts.first_alone():
    assert number
  raise AssertionError("it goes on")


def test_a_mistake_of_the_first_ends_all_too():
  with two(make_a_mistake) as both:
    (_, first), (_, second) = (one.communicate() for one in both)
  assert [one.returncode for one in both] == [1, 1], first + second
  assert "Traceback" in first and not second


def walk(seconds: float) -> loop.Study:
  """Runs that grow by their number in each round, over all devices."""
  mesh = sharding.make_mesh()
  step = sharding.mapped(
    lambda runs, by: runs + by, mesh, (REPLICA, REPLICA), REPLICA
  )
  cut = jax.jit(
    lambda runs: runs[:NUM_RUNS],
    out_shardings=jax.sharding.NamedSharding(mesh, REPLICATED),
  )

  def place(runs):
    index = sharding.spread(NUM_RUNS, mesh)
    return sharding.place(runs[index], mesh, REPLICA)

  by = place(np.arange(1.0, NUM_RUNS + 1))

  def round_(state, number):
    del number
    time.sleep(seconds)
    runs = step(state["runs"], by)
    return {"runs": runs}, {"runs": cut(runs)}

  return loop.Study(
    init=lambda: {"runs": place(np.zeros(NUM_RUNS))},
    round=round_,
    evaluate=lambda state: {},
    summarize=lambda state, history: history,
    adapt=lambda state: {"runs": place(sharding.fetch(state["runs"]))},
  )


def walk_together(argv):
  _, (folder, num_rounds, seconds) = join(argv)
  with hosts.explained():
    study = walk(float(seconds))
    loop.run(study, pathlib.Path(folder), int(num_rounds), 1, "walking")


def walk_with_jax_as_listener(argv):
  """JAX hears SIGTERM, as it would a notice of a cloud that takes a machine."""
  process.listen_again = lambda: None
  process.on_stop = lambda handle: contextlib.nullcontext()
  walk_together(argv)


def wait_for_checkpoint(folder: pathlib.Path, both) -> None:
  while not list(folder.glob("checkpoints/[0-9]")):
    assert [one.returncode for one in both] == [None, None], both[0].printed()
    time.sleep(0.05)


def finish(folder: pathlib.Path) -> None:
  """Goes on in this process, with its one device, to what the walk comes to."""
  names = [path.name for path in folder.glob("checkpoints/*")]
  saved = max(int(name) for name in names if name.isdigit())
  _, history = loop.run(walk(0), folder, saved + 2, 1, "walking")
  expected = np.outer(np.arange(1.0, saved + 3), np.arange(1.0, NUM_RUNS + 1))
  np.testing.assert_array_equal(history["runs"], expected)


@pytest.mark.parametrize("killed", [0, 1])
def test_one_is_killed_and_the_other_ends_in_a_line(tmp_path, killed):
  with two(walk_together, str(tmp_path), "900", "0.1") as both:
    wait_for_checkpoint(tmp_path, both)
    both[killed].kill()
    left, start = both[1 - killed], time.monotonic()
    _, stderr = left.communicate()
  assert time.monotonic() - start < 60
  assert left.returncode == hosts.LOST, stderr
  errors = re.sub(r"walking: .*\n", "", stderr).splitlines()
  assert len(errors) == 1, stderr
  assert errors[0].startswith("error: another process of this training has")
  finish(tmp_path)


@pytest.mark.parametrize("main", [walk_together, walk_with_jax_as_listener])
def test_one_is_told_to_stop_and_both_save(tmp_path, main):
  with two(main, str(tmp_path), "900", "0.1") as both:
    wait_for_checkpoint(tmp_path, both)
    both[1].send_signal(signal.SIGTERM)
    printed = [one.communicate() for one in both]
  assert [one.returncode for one in both] == [143, 143], printed
  finish(tmp_path)


@pytest.mark.parametrize(
  "given", [("here:1", None, 2), (None, 0, None), ("nowhere", 0, 1)]
)
def test_what_is_missing_is_said(given):
  with pytest.raises(UserError, match="coordinator"):
    hosts.begin(*given)
  assert not process.is_quiet()
  assert jnp.zeros(1).is_fully_addressable
