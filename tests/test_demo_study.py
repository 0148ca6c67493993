"""The main job of the README, as a user runs it; on several devices, too."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from emojax import summary

ROOT = pathlib.Path(__file__).parent.parent
DANN, C1 = "dann", "c1"


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
  """Runs the demo in a process of its own; its features are there for all."""
  cache = tmp_path_factory.mktemp("cache")

  def launch(workdir, *arguments, flags="") -> str:
    command = ["launch.py", "--config=configs/dann.py", f"--workdir={workdir}"]
    done = subprocess.run(
      [sys.executable, *command, *arguments],
      cwd=ROOT,
      env=os.environ | {"XLA_FLAGS": flags, "XDG_CACHE_HOME": str(cache)},
      capture_output=True,
      text=True,
      timeout=600,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

  return launch


@pytest.fixture(scope="module")
def demo(launch, tmp_path_factory):
  """The demo with three initialisations: its folder, and what it printed."""
  workdir = tmp_path_factory.mktemp("demo") / "run"
  return workdir, launch(workdir, "--config.num_replicates=3")


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


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_it_ends_on_several_devices_as_on_one(demo, launch, tmp_path, devices):
  """On two cores it has waited for ever: each device drew the weights."""
  launch(
    tmp_path / "run",
    "--config.num_epochs=1",
    "--config.num_replicates=3",
    "--config.probe_replicates=1",
    # Quick to compile, which costs the last digits.
    flags=os.environ["XLA_FLAGS"]
    + f" --xla_force_host_platform_device_count={devices}",
  )
  read = summary.read(tmp_path / "run")
  assert read.device.startswith(f"{devices} x ")
  one = summary.read_arrays(demo[0] / summary.HISTORY)
  other = summary.read_arrays(tmp_path / "run" / summary.HISTORY)
  assert set(one) == set(other)
  for name, values in other.items():
    if name.endswith("_loss"):
      np.testing.assert_allclose(values[:, 0], one[name][:, 0], rtol=1e-4)
    elif name.endswith("weighted_accuracy"):
      np.testing.assert_allclose(values[:, 0], one[name][:, 0], atol=0.02)
