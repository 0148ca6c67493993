"""The main job of the README, as a user runs it; on several devices, too."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from emojax import summary
from emojax.reports import study
from tests import processes

# Compiled in half the time, for which an epoch takes a fifth longer.
FLAGS = (
  "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"
  " --xla_cpu_parallel_codegen_split_count=1"
)
ROOT = pathlib.Path(__file__).parent.parent
DANN, C1 = "dann", "c1"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
  """One cache for all processes: the demo's features are there for all."""
  cache = str(tmp_path_factory.mktemp("cache"))
  return os.environ | {"XDG_CACHE_HOME": cache}


@pytest.fixture(scope="module")
def demo(environment, tmp_path_factory):
  """The demo with three initialisations: its folder, and what it printed."""
  workdir = tmp_path_factory.mktemp("demo") / "run"
  done = subprocess.run(
    [sys.executable, "launch.py", *arguments(workdir)],
    cwd=ROOT,
    env=environment | {"XLA_FLAGS": FLAGS},
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return workdir, done.stdout


def arguments(workdir, **changes) -> list[str]:
  changes = {"num_replicates": 3, "probe_replicates": 1} | changes
  fields = (f"--config.{name}={value}" for name, value in changes.items())
  return ["--config=configs/dann.py", f"--workdir={workdir}", *fields]


def test_dann_beats_c1_and_forgets_speakers_on_the_demo_corpus(demo):
  workdir, printed = demo
  gain = {
    one.metric: one.difference
    for one in summary.read(workdir).comparisons
    if (one.a, one.b) == (DANN, C1)
  }
  assert gain["weighted_accuracy"] > 0
  assert gain["unweighted_accuracy"] > 0
  assert gain["speaker_probe"] < 0
  # Whatever is printed from it says what it is.
  assert "demo corpus (synthetic)" in printed
  report = (workdir / "report.md").read_text(encoding="utf-8")
  assert report.startswith("**demo corpus (synthetic)**")
  for name in ("learning_curves", "comparison", "representations"):
    assert (workdir / f"{name}.png").stat().st_size > 10_000
    assert f"({name}.png)" in report


def launch_without_figures(argv: list[str]) -> None:
  """They take a third of the time, and know nothing of devices."""
  import launch

  study.files = lambda *_: {}
  launch.main(argv)


def test_it_ends_on_several_devices_as_on_one(demo, environment, tmp_path):
  """On two cores it has waited for ever: each device drew the weights."""
  # Quick to compile, which costs the last digits.
  flags = environment["XLA_FLAGS"]
  flags += " --xla_force_host_platform_device_count=8"
  done = processes.run(
    launch_without_figures,
    arguments(tmp_path / "run", num_epochs=1),
    environment | {"XLA_FLAGS": flags},
  )
  assert done.returncode == 0, done.stderr
  read = summary.read(tmp_path / "run")
  assert read.device.startswith("8 x ")
  one = summary.read_arrays(demo[0] / summary.HISTORY)
  other = summary.read_arrays(tmp_path / "run" / summary.HISTORY)
  assert set(one) == set(other)
  for name, values in other.items():
    if name.endswith("_loss"):
      np.testing.assert_allclose(values[:, 0], one[name][:, 0], rtol=1e-4)
    elif name.endswith("weighted_accuracy"):
      np.testing.assert_allclose(values[:, 0], one[name][:, 0], atol=0.02)
