"""The grid of runs and its folder, in this process and in others.

Run as a program, this file is a study of a few numbers: WORKDIR, seconds of a
round, seconds of the summary, and numbers that only fill the state.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import threading
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from emojax import loop, runs
from emojax import summary as summaries
from emojax.errors import UserError
from emojax.runs import Run
from emojax.runtime import locks
from emojax.summary import Row, Summary, System
from tests import processes

NUM_ROUNDS = 4
RUNS = runs.grid(["few", "many"], ["walk"], 2)


def make_config(**changes) -> ml_collections.ConfigDict:
  config = ml_collections.ConfigDict(
    {"seed": 3, "checkpoint_every": 2, "model": {"hidden": 4, "name": "a"}}
  )
  config.lambdas = (0.0, 1.0)
  config.update_from_flattened_dict(changes)
  return config


@functools.partial(jax.jit, donate_argnums=0)
def walk(state, key):
  key = jax.random.fold_in(key, state["step"])
  position = state["position"] + jax.random.normal(key, (4,))
  return state | {"position": position, "step": state["step"] + 1}


class Walks:
  """A study of random walks; it counts its calls and can wait or fail."""

  def __init__(self, seconds=0.0, summary_seconds=0.0, ballast=1, at=None):
    self.calls = []
    self.at = at or {}
    self._seconds, self._summary_seconds = seconds, summary_seconds
    self._ballast = ballast

  def __call__(self, grid: runs.Grid) -> tuple[Summary, runs.Files]:
    outcomes = [
      grid.train(run, self._study(run), NUM_ROUNDS, "mile") for run in RUNS
    ]
    self._call("summary")
    rows = [
      Row(*row, {"mile": summaries.Estimate.of([o.figures["end"] for o in of])})
      for row, of in runs.by_row(outcomes).items()
    ]
    summary = Summary(
      study="walks",
      title="Walks",
      demo=False,
      classes=(),
      selection=summaries.LAST_EPOCH,
      metrics=("mile",),
      systems=(System("walk", "A walk"),),
      rows=tuple(rows),
      comparisons=(),
      versions={},
      device="",
      date="2020-01-01",
    )
    history = runs.histories(outcomes)
    return summary, {
      "report.md": self._write_report,
      "history.npz": lambda path: np.savez_compressed(path, **history),
    }

  def _write_report(self, path):
    with path.open("w", encoding="utf-8") as file:
      file.write("# They")
      file.flush()
      self._call("report")
      time.sleep(self._summary_seconds)
      file.write(" walked\n")

  def _study(self, run: Run) -> loop.Study:
    key = jax.random.fold_in(jax.random.key(run.seed), len(run.setting))

    def init():
      ballast = jax.random.bits(jax.random.key(0), self._ballast)
      return {
        "position": jnp.zeros(4),
        "step": jnp.int32(0),
        "ballast": ballast,
      }

    def round_(state, number):
      self._call(f"{run}: {number}")
      time.sleep(self._seconds)
      state = walk(state, key)
      return state, {"mean": state["position"].mean()}

    def summarize(state, history):
      self._call(f"{run}: end")
      position = np.asarray(state["position"])
      return runs.Result(
        {"end": float(history["mean"][-1])},
        {"position": position},
        {"params": {"position": position}} if run.seed == 0 else None,
      )

    return loop.Study(init, round_, lambda state: {}, summarize)

  def _call(self, name):
    self.calls.append(name)
    self.at.get(name, lambda: None)()


def complete(workdir, walks=None, config=None) -> Summary:
  return runs.complete(config or make_config(), workdir, walks or Walks())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("uninterrupted")
  complete(folder)
  return folder


def times(folder) -> dict[pathlib.Path, int]:
  return {p: p.stat().st_mtime_ns for p in (folder, *folder.rglob("*"))}


def assert_same(workdir, uninterrupted) -> None:
  """The last bit of all figures, and no trace of what happened in between."""
  for name in ("summary.json", "report.md"):
    assert (workdir / name).read_bytes() == (uninterrupted / name).read_bytes()
  one, other = (
    summaries.read_arrays(f / "history.npz") for f in (workdir, uninterrupted)
  )
  assert one.keys() == other.keys()
  for name, values in one.items():
    np.testing.assert_array_equal(values, other[name])
  assert sorted(os.listdir(workdir)) == sorted(os.listdir(uninterrupted))


def test_what_a_study_leaves(uninterrupted):
  assert sorted(os.listdir(uninterrupted)) == [
    *("config.json", "history.npz", "report.md", "runs", "summary.json")
  ]
  config = json.loads((uninterrupted / "config.json").read_text())
  assert config["model"]["hidden"] == 4
  history = summaries.read_arrays(uninterrupted / "history.npz")
  assert {name: values.shape for name, values in history.items()} == {
    "few/walk/mean": (2, NUM_ROUNDS),
    "many/walk/mean": (2, NUM_ROUNDS),
  }
  summary = summaries.read(uninterrupted)
  row = summary.row("many", "walk")
  assert row.metrics["mile"].runs == tuple(
    float(v) for v in history["many/walk/mean"][:, -1]
  )


def test_an_outcome_is_read_back(uninterrupted):
  grid = runs.Grid(uninterrupted, make_config())
  outcome = grid.finished(Run("few", "walk", 0))
  assert outcome.figures["end"] == outcome.history["mean"][-1]
  position = outcome.outputs["position"]
  np.testing.assert_array_equal(outcome.weights["params"]["position"], position)
  assert outcome.folder == uninterrupted / "runs" / "few" / "walk" / "seed-0"
  assert grid.finished(Run("few", "another", 0)) is None


def test_a_damaged_outcome_is_named(tmp_path):
  complete(tmp_path)
  run = Run("few", "walk", 1)
  grid = runs.Grid(tmp_path, make_config())
  path = grid.finished(run).folder / "outputs.npz"
  for content in (b"PK of no use", b""):
    path.write_bytes(content)
    with pytest.raises(UserError, match="seed-1 is damaged"):
      grid.finished(run)


def test_where_runs_stand_on_an_axis():
  assert runs.positions(RUNS, setting="many").tolist() == [2, 3]
  assert runs.positions(RUNS, seed=1).tolist() == [1, 3]
  found = runs.positions(RUNS, system="another")
  assert found.tolist() == [] and found.dtype == int


@pytest.mark.parametrize("read_only", [False, True])
def test_a_finished_folder_is_read_and_nothing_is_called(
  uninterrupted, monkeypatch, read_only
):
  if read_only:  # Tests run as root, whom no mode stops.
    for name in ("mkdir", "open", "unlink"):
      original = getattr(pathlib.Path, name)

      def refuse(self, *args, original=original, **kwargs):
        if "w" in args or original.__name__ != "open":
          raise PermissionError(1, "Operation not permitted")
        return original(self, *args, **kwargs)

      monkeypatch.setattr(pathlib.Path, name, refuse)
  walks, before = Walks(), times(uninterrupted)
  assert complete(uninterrupted, walks) == summaries.read(uninterrupted)
  assert not walks.calls
  assert times(uninterrupted) == before


class Crash(Exception):
  pass


def crash():
  raise Crash


@pytest.mark.parametrize(
  "call",
  [
    *(
      "few, walk, seed 0: 3",
      "many, walk, seed 0: 0",
      "few, walk, seed 1: end",
    ),
    *("summary", "report"),
  ],
)
def test_a_crash_costs_what_was_not_saved(uninterrupted, tmp_path, call):
  walks = Walks(at={call: crash})
  with pytest.raises(Crash):
    complete(tmp_path, walks)
  assert not (tmp_path / "summary.json").exists()
  again = Walks()
  complete(tmp_path, again)
  # What is finished is not begun again; what was begun goes on from round 2.
  place = walks.calls.index(call) - (call.endswith(": 3"))
  assert again.calls == all_calls()[place:] or call in ("summary", "report")
  assert_same(tmp_path, uninterrupted)


def all_calls() -> list[str]:
  parts = [*map(str, range(NUM_ROUNDS)), "end"]
  return [
    *(f"{run}: {part}" for run in RUNS for part in parts),
    *("summary", "report"),
  ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("call", ["many, walk, seed 1: 1", "summary", "report"])
def test_a_stop_leaves_nothing_half_written(
  uninterrupted, tmp_path, number, call, caplog
):
  before = signal.getsignal(number)
  with pytest.raises(SystemExit) as stopped:
    complete(tmp_path, Walks(at={call: lambda: signal.raise_signal(number)}))
  assert stopped.value.code == 128 + number
  assert signal.getsignal(number) is before
  assert "the same command goes on from there" in caplog.text
  assert sorted(os.listdir(tmp_path)) == ["config.json", "runs"]
  complete(tmp_path)
  assert_same(tmp_path, uninterrupted)


def test_a_thread_trains_too(uninterrupted, tmp_path):
  thread = threading.Thread(target=lambda: complete(tmp_path))
  thread.start()
  thread.join()
  assert_same(tmp_path, uninterrupted)


def test_a_summary_that_is_not_finite_is_not_written(tmp_path):
  def study(grid):
    summary, files = Walks()(grid)
    mile = dataclasses.replace(summaries.Estimate.of([1.0]), mean=np.nan)
    bad = Row("few", "walk", {"mile": mile})
    return dataclasses.replace(summary, rows=(bad,)), files

  with pytest.raises(ValueError, match="JSON"):
    complete(tmp_path, study)
  assert not [p for p in os.listdir(tmp_path) if "summary" in p]


@pytest.mark.parametrize(
  ("change", "what"),
  [
    ({"seed": 4}, "config.seed is 3 there and 4 here"),
    ({"model.hidden": 8}, "config.model.hidden is 4 there and 8 here"),
    ({"lambdas": (0.0, 2.0)}, "config.lambdas is [0.0, 1.0] there"),
  ],
)
def test_the_folder_of_another_config(uninterrupted, change, what):
  walks = Walks()
  with pytest.raises(UserError) as caught:
    complete(uninterrupted, walks, make_config(**change))
  message = str(caught.value)
  assert what in message
  assert str(uninterrupted) in message
  assert "choose another folder (--workdir)" in message
  assert not walks.calls


def test_the_folder_of_a_config_with_other_fields(uninterrupted):
  config = make_config()
  config.dropout = 0.1
  with pytest.raises(UserError, match=r"dropout is 'nothing' there and 0\.1"):
    complete(uninterrupted, config=config)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_config_is_named(tmp_path, content):
  (tmp_path / "config.json").write_text(content)
  with pytest.raises(UserError, match=r"config\.json is damaged") as caught:
    complete(tmp_path)
  assert "\n" not in str(caught.value)


def test_a_file_where_the_folder_should_be(tmp_path):
  path = tmp_path / "run"
  path.write_text("I am a file")
  walks = Walks()
  with pytest.raises(UserError, match="is no folder: choose another --workdir"):
    complete(path, walks)
  assert not walks.calls
  assert path.read_text() == "I am a file"


def test_asking_whether_it_is_finished_writes_nothing(tmp_path):
  assert not runs.is_finished(tmp_path / "new", make_config())
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("folder", ["", "new", "two/new"])
def test_a_study_that_finds_something_wrong_leaves_nothing(tmp_path, folder):
  def study(grid):
    raise UserError("no data")

  with pytest.raises(UserError, match="no data"):
    complete(tmp_path / folder, study)
  assert os.listdir(tmp_path) == []


def test_what_a_config_leaves_open_is_settled_once(tmp_path):
  def settle(config, value):
    return runs.settle(tmp_path, config, "model.name", lambda: value)

  config = make_config(**{"model.name": ""})
  settled = settle(config, "b")
  assert settled.model.name == "b" and config.model.name == ""
  complete(tmp_path, config=settled)
  assert settle(config, "c").model.name == "b"
  assert settle(make_config(), "c").model.name == "a"


def test_two_threads_on_one_folder(tmp_path):
  def second():
    with pytest.raises(UserError, match="in use by another process"):
      complete(tmp_path)

  complete(tmp_path, Walks(at={"summary": second}))
  assert ".lock" not in os.listdir(tmp_path)


def test_a_disk_without_locks(tmp_path, monkeypatch, caplog, uninterrupted):
  def flock(*_):
    raise OSError(locks.errno.ENOLCK, "No locks available")

  monkeypatch.setattr(locks.fcntl, "flock", flock)
  complete(tmp_path)
  assert "without locks" in caplog.text
  assert_same(tmp_path, uninterrupted)


@pytest.fixture
def start(cache):
  """Starts such a study in a process of its own."""
  with contextlib.ExitStack() as begun:

    def begin(workdir, seconds=0.0, summary_seconds=0.0, ballast=1):
      numbers = map(str, (seconds, summary_seconds, ballast))
      process = processes.Process(main, [str(workdir), *numbers])
      return begun.enter_context(process)

    yield begin


def wait_for(has_come, process, seconds=120) -> None:
  end = time.monotonic() + seconds
  while not has_come():
    assert process.returncode is None, process.printed()
    assert time.monotonic() < end, "it does not come"
    time.sleep(0.01)


def half_reports(workdir) -> set[str]:
  """Reports that are being written, or were when somebody was killed."""
  return {path.name for path in workdir.glob(".report.md.*.md")}


def test_processes_on_one_folder(uninterrupted, tmp_path, start):
  """One is refused, one is killed, one is stopped, and one comes to the end."""
  workdir = tmp_path / "run"
  first = start(workdir, seconds=0.05, summary_seconds=60)
  wait_for(lambda: half_reports(workdir), first)
  before = times(workdir)

  second = start(workdir)
  _, told = second.communicate()
  assert second.returncode == 2, told
  assert told.splitlines() == [
    f"error: {workdir} is in use by another process: wait for it, or choose "
    "another --workdir"
  ]
  assert times(workdir) == before

  first.kill()
  first.communicate()
  of_first = half_reports(workdir)
  assert len(of_first) == 1

  third = start(workdir, summary_seconds=60)
  wait_for(lambda: half_reports(workdir) - of_first, third)
  assert not half_reports(workdir) & of_first
  third.send_signal(signal.SIGTERM)
  _, told = third.communicate()
  assert third.returncode == 143, told
  assert told == "stopped; the same command goes on from there\n"
  assert sorted(os.listdir(workdir)) == ["config.json", "runs"]

  complete(workdir)
  assert_same(workdir, uninterrupted)


def test_a_preempted_process(uninterrupted, tmp_path, start):
  workdir = tmp_path / "run"
  process = start(workdir, seconds=0.2)
  checkpoints = workdir / "runs" / "few" / "walk" / "seed-1" / "checkpoints"
  wait_for((checkpoints / "2").exists, process)
  process.send_signal(signal.SIGTERM)
  _, told = process.communicate()
  assert process.returncode == 143, told
  *_, line = told.splitlines()
  last = max(int(p) for p in os.listdir(checkpoints))
  assert line == (
    f"stopped after round {last} of 4; the same command goes on from there"
  )
  assert "Traceback" not in told

  walks = Walks()
  complete(workdir, walks)
  assert walks.calls[0].startswith("few, walk, seed 1: ")
  assert_same(workdir, uninterrupted)


def test_a_process_on_a_full_disk(small_disk, start):
  workdir = small_disk / "run"
  process = start(workdir, ballast=100000)  # 400 kB a checkpoint.
  _, told = process.communicate()
  assert process.returncode == 2, told
  *others, last = told.strip().split("\n")
  assert last.startswith("error: no room on the disk to save a checkpoint")
  assert len(others) == 2, told  # The progress.
  left = list(workdir.rglob("*"))
  assert not [p for p in left if "tmp" in p.name or "summary" in p.name]
  grid = runs.Grid(workdir, make_config())
  assert [bool(grid.finished(run)) for run in RUNS] == [True, *[False] * 3]


def main(arguments: list[str]) -> None:
  _, workdir, *numbers, ballast = arguments
  complete(workdir, Walks(*map(float, numbers), int(ballast)))
