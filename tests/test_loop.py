"""The loop with a study of a few numbers, in this process and in others.

Run as a program, this file is such a study: WORKDIR, seconds of a round, and
numbers that only fill the state.
"""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from emojax import cli, loop
from emojax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
NUM_ROUNDS = 7


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


class Tiny:
  """A random walk; it counts its calls and can stop, fail or wait."""

  def __init__(self, config, at_round=None, seconds=0.0, ballast=1):
    self.calls = []
    self._ballast = ballast
    self._key = jax.random.key(config.seed)
    self._at_round = at_round or {}
    self._seconds = seconds

  def study(self) -> loop.Study:
    return loop.Study(self.init, self.round, self.evaluate, self.summarize)

  def init(self):
    self.calls.append("init")
    ballast = jax.random.bits(jax.random.key(0), self._ballast)
    return {
      "position": jnp.zeros(4),
      "step": jnp.int32(0),
      "ballast": ballast,
    }

  def round(self, state, round_):
    self.calls.append(round_)
    time.sleep(self._seconds)
    state = walk(state, self._key)
    self._at_round.get(round_, lambda: None)()
    return state, {
      "train/loss": self.broken(round_, state["position"].mean()),
      "train/confusion_matrix": jnp.full((2, 2), round_),
    }

  def broken(self, round_, loss):
    return loss

  def evaluate(self, state):
    return {"test/accuracy": jnp.tanh(state["position"][0])}

  def summarize(self, state, history):
    self.calls.append("summarize")
    summary = {
      "position": np.asarray(state["position"]).tolist(),
      "history": {name: values.tolist() for name, values in history.items()},
    }
    return loop.Results(
      summary, {"report.md": lambda path: path.write_text("# It walked\n")}
    )


def run(workdir, config=None, tiny=None, num_rounds=NUM_ROUNDS):
  config = config or make_config()
  tiny = tiny or Tiny(config)
  return loop.run(tiny.study(), config, workdir, num_rounds, "walking")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("uninterrupted")
  run(folder)
  return folder


def summary_of(workdir) -> bytes:
  return (workdir / "summary.json").read_bytes()


def test_what_a_run_leaves(uninterrupted):
  summary = json.loads(summary_of(uninterrupted))
  history = summary["history"]
  assert len(history["train/loss"]) == NUM_ROUNDS
  assert history["train/confusion_matrix"][3] == [[3, 3], [3, 3]]
  assert history["train/loss"][-1] == pytest.approx(
    np.mean(summary["position"])
  )
  assert history["test/accuracy"][-1] == pytest.approx(
    np.tanh(summary["position"][0])
  )
  assert (uninterrupted / "report.md").read_text() == "# It walked\n"
  config = json.loads((uninterrupted / "config.json").read_text())
  assert config["model"]["hidden"] == 4
  # The last round is saved, whatever the interval: it is the trained model.
  assert sorted(os.listdir(uninterrupted / "checkpoints")) == ["6", "7"]
  events = [p for p in os.listdir(uninterrupted) if "tfevents" in p]
  assert len(events) == 1
  assert len(os.listdir(uninterrupted)) == 5


def test_a_finished_folder_is_read_and_nothing_is_called(uninterrupted):
  tiny = Tiny(make_config())
  before = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*")}
  summary = run(uninterrupted, tiny=tiny)
  assert summary == json.loads(summary_of(uninterrupted))
  assert not tiny.calls
  assert before == {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("round_", [0, 1, 4, NUM_ROUNDS - 1])
def test_a_stop_saves_and_the_same_command_goes_on(
  uninterrupted, tmp_path, round_, number, caplog
):
  config = make_config()
  before = signal.getsignal(number)
  tiny = Tiny(config, {round_: lambda: signal.raise_signal(number)})
  with pytest.raises(SystemExit) as stopped:
    run(tmp_path, tiny=tiny)
  assert stopped.value.code == 128 + number
  assert signal.getsignal(number) is before
  assert tiny.calls == ["init", *range(round_ + 1)]
  assert f"stopped after round {round_ + 1} of 7" in caplog.text
  assert str(round_ + 1) in os.listdir(tmp_path / "checkpoints")
  assert not (tmp_path / "summary.json").exists()

  again = Tiny(config)
  run(tmp_path, tiny=again)
  assert again.calls == ["init", *range(round_ + 1, NUM_ROUNDS), "summarize"]
  assert summary_of(tmp_path) == summary_of(uninterrupted)


class Crash(Exception):
  pass


def crash():
  raise Crash


@pytest.mark.parametrize("crashes", [(0,), (1, 3), (5,), (3, 4, 5, 6)])
def test_a_crash_goes_on_from_the_last_checkpoint(
  uninterrupted, tmp_path, crashes
):
  for round_ in crashes:
    tiny = Tiny(make_config(), {round_: crash})
    with pytest.raises(Crash):
      run(tmp_path, tiny=tiny)
  tiny = Tiny(make_config())
  run(tmp_path, tiny=tiny)
  first = tiny.calls[1]
  assert first == crashes[-1] // 2 * 2
  assert summary_of(tmp_path) == summary_of(uninterrupted)


def test_a_crash_of_the_summary_needs_no_round_again(uninterrupted, tmp_path):
  tiny = Tiny(make_config())
  tiny.summarize = lambda state, history: crash()
  with pytest.raises(Crash):
    run(tmp_path, tiny=tiny)
  tiny = Tiny(make_config())
  run(tmp_path, tiny=tiny)
  assert tiny.calls == ["init", "summarize"]
  assert summary_of(tmp_path) == summary_of(uninterrupted)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("round_", [2, 3, NUM_ROUNDS - 1])
def test_a_number_that_is_not_finite_ends_the_run(tmp_path, round_, value):
  tiny = Tiny(make_config())
  tiny.broken = lambda number, loss: jnp.where(number == round_, value, loss)
  with pytest.raises(UserError, match="train/loss is not finite") as caught:
    run(tmp_path, tiny=tiny)
  message = str(caught.value)
  assert f"after round {round_ + 1} in {tmp_path}" in message
  assert "learning_rate" in message
  assert "\n" not in message
  assert not (tmp_path / "summary.json").exists()
  # Read one round late: at most one more has begun, and none was saved.
  assert max(c for c in tiny.calls if c != "init") <= round_ + 1
  saved = os.listdir(tmp_path / "checkpoints")
  assert not [name for name in saved if name.isdigit() and int(name) > round_]


def test_a_summary_that_is_not_finite_is_not_written(tmp_path):
  tiny = Tiny(make_config())
  tiny.summarize = lambda *_: loop.Results({"accuracy": np.nan}, {})
  with pytest.raises(ValueError, match="JSON"):
    run(tmp_path, tiny=tiny)
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
  config = make_config(**change)
  tiny = Tiny(config)
  with pytest.raises(UserError) as caught:
    run(uninterrupted, config, tiny)
  message = str(caught.value)
  assert what in message
  assert str(uninterrupted) in message
  assert "choose another --workdir" in message
  assert not tiny.calls


def test_the_folder_of_a_config_with_other_fields(uninterrupted):
  config = make_config()
  config.dropout = 0.1
  with pytest.raises(UserError, match=r"dropout is 'nothing' there and 0\.1"):
    run(uninterrupted, config)


def test_a_file_where_the_folder_should_be(tmp_path):
  path = tmp_path / "run"
  path.write_text("I am a file")
  tiny = Tiny(make_config())
  with pytest.raises(UserError, match="is no folder: choose another --workdir"):
    run(path, tiny=tiny)
  assert not tiny.calls
  assert path.read_text() == "I am a file"


def test_asking_whether_it_is_finished_writes_nothing(tmp_path):
  assert loop.finished(tmp_path / "new", make_config()) is None
  assert not (tmp_path / "new").exists()


def start(workdir, seconds="0", ballast="1") -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, __file__, str(workdir), seconds, ballast],
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for(path, process, seconds=120) -> None:
  end = time.monotonic() + seconds
  while not path.exists():
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < end, f"{path} does not appear"
    time.sleep(0.01)


def test_a_preempted_process(uninterrupted, tmp_path, cache):
  process = start(tmp_path, "0.2")
  wait_for(tmp_path / "checkpoints" / "2", process)
  process.send_signal(signal.SIGTERM)
  _, told = process.communicate()
  assert process.returncode == 143, told
  (line,) = [line for line in told.split("\n") if line.startswith("stopped")]
  assert line.endswith("the same command goes on from there")
  assert "Traceback" not in told
  rounds = [int(p) for p in os.listdir(tmp_path / "checkpoints")]
  assert f"stopped after round {max(rounds)} of 7" in line

  process = start(tmp_path)
  _, told = process.communicate()
  assert process.returncode == 0, told
  assert f"goes on after round {max(rounds)} of 7" in told
  assert summary_of(tmp_path) == summary_of(uninterrupted)


def test_a_process_on_a_full_disk(small_disk, cache):
  workdir = small_disk / "run"
  process = start(workdir, "0", "100000")  # 400 kB a checkpoint.
  _, told = process.communicate()
  assert process.returncode == 2, told
  *others, last = told.strip().split("\n")
  assert last.startswith("error: no room on the disk to save a checkpoint")
  assert "the checkpoint of round 4 is kept" in last
  assert len(others) <= 1, told  # The progress.
  left = list(workdir.rglob("*"))
  assert not [p for p in left if "tmp" in p.name or "summary" in p.name]


def main(arguments: list[str]) -> None:
  _, workdir, seconds, ballast = arguments
  config = make_config()
  tiny = Tiny(config, seconds=float(seconds), ballast=int(ballast))
  run(pathlib.Path(workdir), config, tiny)


if __name__ == "__main__":
  sys.exit(cli.run(main, sys.argv))
