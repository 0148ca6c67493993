"""The main job of the README, as a user runs it."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_dann_beats_c1_and_forgets_speakers_on_the_demo_corpus(tmp_path):
  environment = dict(os.environ)
  environment.pop("XLA_FLAGS", None)  # Those of the tests are for short jobs.
  done = subprocess.run(
    [
      sys.executable,
      "launch.py",
      "--config=configs/dann.py",
      "--config.num_replicates=5",
      f"--workdir={tmp_path}",
    ],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  summary = json.loads((tmp_path / "summary.json").read_text())
  gain = {
    comparison["metric"]: comparison["difference"]
    for comparison in summary["comparisons"]
    if (comparison["a"], comparison["b"]) == ("DANN", "C1")
  }
  assert gain["weighted_accuracy"] > 0
  assert gain["unweighted_accuracy"] > 0
  assert gain["speaker_probe"] < 0
  # Whatever is printed from it says what it is.
  assert "demo corpus (synthetic)" in done.stdout
  report = (tmp_path / "report.md").read_text()
  assert report.startswith("**demo corpus (synthetic)**")
  for name in ("learning_curves", "comparison", "representations"):
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert f"({name}.png)" in report
