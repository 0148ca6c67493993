"""`launch.py` and `python -m emojax` as real processes.

They are killed, told to use eight devices, and given what is wrong.
"""

import dataclasses
import importlib.util
import os
import pathlib
import pickle
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from emojax import summary
from emojax.data import table as tables
from tests import processes

ROOT = pathlib.Path(__file__).parents[1]
NUM_EPOCHS = 4


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
  """One cache for all processes."""
  cache = str(tmp_path_factory.mktemp("cache"))
  return os.environ | {"XDG_CACHE_HOME": cache, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, make_table) -> list[str]:
  """A study with a search, and a step an epoch."""
  path = tmp_path_factory.mktemp("table") / "table.npz"
  tables.save(path, make_table())
  return [
    "--config=configs/dann.py:table2",
    "--config.data.corpus=table",
    f"--config.data.path={path}",
    "--config.split.labelled_sessions=('1234',)",
    f"--config.num_epochs={NUM_EPOCHS}",
    "--config.num_replicates=3",
    "--config.batch_size=20",
    "--config.checkpoint_every=1",
    "--config.optimizer.learning_rate=1e-2",
    "--config.model.hidden=8",
    "--config.model.num_heads=2",
    "--config.stabilised.lambdas=(0.1, 0.2, 0.3)",
    "--config.stabilised.learning_rates=(1e-2,)",
    "--config.stabilised.search_replicates=1",
    "--config.stabilised.num_folds=2",
    "--config.baselines=()",
    "--config.probe_replicates=1",
  ]


def finish(command, environment) -> subprocess.CompletedProcess:
  """Starts Python, in earnest."""
  return subprocess.run(
    [sys.executable, *command],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
  )


def train(arguments, workdir, environment) -> pathlib.Path:
  arguments = [*arguments, f"--workdir={workdir}"]
  done = processes.run("launch", arguments, environment)
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture(scope="module")
def killed(tmp_path_factory, environment, arguments):
  """A run that was killed again and again, and then left alone."""
  workdir = tmp_path_factory.mktemp("killed") / "run"
  moments = {
    "in the second rung of the search": (
      lambda: (workdir / "search" / "rung-2" / "checkpoints" / "1").exists()
    ),
    "in a later epoch": lambda: (workdir / "checkpoints" / "2").exists(),
    "while the results are drawn": (
      lambda: (workdir / "learning_curves.png").exists()
    ),
  }
  command = [*arguments, f"--workdir={workdir}"]
  for moment, has_come in moments.items():
    with processes.Process("launch", command, environment) as process:
      end = time.monotonic() + 300
      while not has_come():
        assert process.returncode is None, f"{moment}: {process.printed()}"
        assert time.monotonic() < end, f"{moment}: {process.printed()}"
        time.sleep(0.02)
      time.sleep(0.5)
      process.kill()
      _, told = process.communicate()
      assert process.returncode == -9, f"{moment}: {told}"
    assert not (workdir / "summary.json").exists()
  return train(arguments, workdir, environment)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, environment, arguments, killed):
  """After `killed`, whose compiled programs it takes: they count alike."""
  workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
  return train(arguments, workdir, environment)


@pytest.mark.parametrize("name", ["summary.json", "search/choice.json"])
def test_a_run_that_was_killed_ends_as_any_other(killed, uninterrupted, name):
  one, other = ((f / name).read_text() for f in (killed, uninterrupted))
  # All but the day: midnight may lie between.
  day = r'"date": "[0-9-]{10}"'
  assert re.sub(day, "", one) == re.sub(day, "", other)


def test_its_history_and_report_are_the_same(killed, uninterrupted):
  one, other = (
    summary.read_arrays(f / "history.npz") for f in (killed, uninterrupted)
  )
  assert set(one) == set(other)
  for name in one:
    np.testing.assert_array_equal(one[name], other[name])
    assert one[name].shape[:2] == (3, NUM_EPOCHS)
  one, other = ((f / "report.md").read_text() for f in (killed, uninterrupted))
  assert one == other


_SPREAD_OVER_EIGHT = """
import sys, jax, launch
from emojax import cli
from emojax.trainers.run_axis import Training

def check(self, states, epoch, original=Training.round):
  assert jax.device_count() == 8
  for state in states.values():
    for leaf in jax.tree.leaves((state.params, state.optimizer)):
      shards = leaf.addressable_shards
      assert len({shard.device for shard in shards}) == 8
      assert all(shard.data.shape[0] == len(leaf) // 8 for shard in shards)
  return original(self, states, epoch)

Training.round = check
code = cli.run(launch.main, sys.argv)
assert not {"tensorflow", "torch"} & sys.modules.keys()
sys.exit(code)
"""


def test_eight_devices_agree_with_one(
  tmp_path, environment, arguments, uninterrupted
):
  """The six runs of the study, of which two run twice, on eight."""
  command = [
    *("-c", _SPREAD_OVER_EIGHT),
    *(a for a in arguments if "stabilised" not in a and "epochs" not in a),
    "--config.stabilised.enabled=False",
    "--config.num_epochs=1",
    f"--workdir={tmp_path / 'run'}",
  ]
  flags = environment["XLA_FLAGS"]
  flags += " --xla_force_host_platform_device_count=8"
  done = finish(command, environment | {"XLA_FLAGS": flags})
  assert done.returncode == 0, done.stderr
  expected = summary.read_arrays(uninterrupted / "history.npz")
  found = summary.read_arrays(tmp_path / "run" / "history.npz")
  assert {name.split("/")[1] for name in found} == {"c1", "dann"}
  for name in found:
    np.testing.assert_allclose(
      found[name][:, 0], expected[name][:, 0], rtol=1e-5, atol=1e-5
    )
  read = summary.read(tmp_path / "run")
  assert read.device.startswith("8 x ")
  assert [len(row.metrics["macro_f1"].runs) for row in read.rows] == [3, 3]


_LATE = (
  *("grain", "librosa", "matplotlib", "numba", "opensmile", "orbax", "pandas"),
  *("scipy", "sklearn", "tensorflow", "torch", "transformers"),
)


def test_training_begins_without_what_ends_it(environment):
  """Seconds of imports: what draws, fits, saves or extracts comes later."""
  program = (
    "import sys; from emojax.trainers import dann, rlps, speech;"
    f"sys.exit(str(set({_LATE}) & sys.modules.keys() or ''))"
  )
  done = finish(["-c", program], environment)
  assert not done.stderr.strip(), done.stderr


_IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import emojax
from emojax import __main__, cli

for module in pkgutil.walk_packages(emojax.__path__, "emojax."):
  importlib.import_module(module.name)
code = cli.run(__main__.main, sys.argv)
assert not {"tensorflow", "torch"} & sys.modules.keys()
sys.exit(code)
"""


def test_nothing_imports_pytorch_or_tensorflow(
  tmp_path, environment, uninterrupted
):
  """Not even where they are installed; tensorboardX has imported PyTorch.

  A launch is watched above; here it is a report, and whatever the other
  commands import.
  """
  assert importlib.util.find_spec("torch")
  command = [
    *("-c", _IMPORT_EVERYTHING, "report"),
    *(str(uninterrupted), f"--output={tmp_path / 'report'}"),
  ]
  done = finish(command, environment)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "report" / "comparison.md").exists()


def is_refused(done, what) -> None:
  """One line, a code of its own, and no traceback."""
  assert done.returncode == 2, done.stderr
  (line,) = done.stderr.splitlines()
  assert line.startswith("error: ")
  assert what in line


def test_a_wrong_path_leaves_nothing_behind(tmp_path, environment):
  (tmp_path / "empty").mkdir()
  wrong = [
    "--config=configs/dann.py:ravdess",
    f"--config.data.path={tmp_path / 'empty'}",
    f"--workdir={tmp_path / 'run'}",
  ]
  done = processes.run("launch", wrong, environment)
  is_refused(done, f"{tmp_path / 'empty'}: an empty")
  assert os.listdir(tmp_path) == ["empty"]


def test_the_folder_of_another_config(uninterrupted, environment, arguments):
  others = [*arguments, "--config.seed=1", f"--workdir={uninterrupted}"]
  before = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*")}
  done = processes.run("launch", others, environment)
  is_refused(done, "config.seed is 0 there and 1 here")
  assert before == {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*")}


class Evil:
  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return os.mkdir, (self._path,)


def test_a_pickle_that_runs_code(tmp_path, environment):
  evil = str(tmp_path / "it ran")
  (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil(evil)))
  files = [str(tmp_path / name) for name in ("evil.pkl", "out.npz")]
  command = ["-m", "emojax", "import-table", *files]
  is_refused(finish(command, environment), "refused, nothing of it was run")
  assert os.listdir(tmp_path) == ["evil.pkl"]


def test_an_audit_of_a_recording_in_two_parts(
  tmp_path, environment, make_table
):
  table = make_table()
  # Of one emotion: two for the same features are an error of their own.
  last = np.flatnonzero(table.label == table.label[0])[-1]
  for values in table.features.values():
    values[last] = values[0]
  tables.save(tmp_path / "table.npz", dataclasses.replace(table))
  command = [
    "audit",
    "--config=configs/dann.py:table2",
    "--config.data.corpus=table",
    f"--config.data.path={tmp_path / 'table.npz'}",
  ]
  done = processes.run("emojax.__main__", command, environment)
  is_refused(done, "the same recording is in the labelled part (row 0")
  assert os.listdir(tmp_path) == ["table.npz"]
