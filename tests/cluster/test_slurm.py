"""`experiments/cluster` in a real Slurm of one node.

A sweep of the three studies, each by two processes, one of them stopped and
requeued; and, while these start, what `slurm.sh` does with whatever stops a
job, with a stand-in for the training, of the same exit codes.
"""

import glob
import json
import os
import pathlib
import re
import time
from typing import Any, NamedTuple

import numpy as np
import pytest

from emojax import summary
from tests import processes
from tests.cluster import studies

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ROOT / "experiments" / "cluster"
# It saves a round, waits for a signal, and saves another one; then it ends.
STAND_IN = """
import os, pathlib, signal, sys, time

flags = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
assert "--distributed" in sys.argv
if "code" in flags:
  sys.exit(int(flags["code"]))
heard = []

def hear(number, frame):
  signal.signal(number, signal.SIG_DFL)  # The second one of a kind kills.
  heard.append(number)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
  signal.signal(number, hear)
process = os.environ["SLURM_PROCID"]
workdir = pathlib.Path(flags["workdir"])
checkpoints = workdir / "checkpoints"
print(f"process {process} begins at {len(list(checkpoints.glob('*')))}")
if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
  sys.stdout.flush()
  (checkpoints / "1").mkdir(parents=True, exist_ok=True)
  (workdir / f"ready-{process}").touch()
  while not heard:
    time.sleep(0.05)
  time.sleep(1)
  (checkpoints / "2").mkdir(exist_ok=True)
  print(f"process {process} saved", flush=True)
  sys.exit(128 + heard[0])
(workdir / f"end-{process}").touch()
"""
# `launch.py` without figures, which take a third of the time.
LAUNCH = """
import sys
from emojax.runtime import process
process.begin()
from emojax import cli
from tests.cluster import studies
sys.exit(cli.run(studies.launch_without_figures, sys.argv))
"""
# How they are stopped, by `scancel`, or with which exit code they end.
STOPPED = {
  "steps": ["--signal=TERM"],
  "shell": ["--batch", "--signal=TERM"],
  "all": ["--full", "--signal=TERM"],
  "cancelled": [],
  "interrupted": ["--signal=INT"],
}
ENDED = {"lost": 75, "wrong": 2}


class Case(NamedTuple):
  """A job of the stand-in that has ended."""

  job: dict[str, str]  # As Slurm shows it.
  log: str
  workdir: pathlib.Path


class Sweep(NamedTuple):
  """Jobs of trainings that have ended, and the table's."""

  folder: pathlib.Path  # A folder for each run, each log, and the table.
  jobs: dict[str, dict[str, str]]
  alone: pathlib.Path  # The same runs of one process each.


@pytest.fixture(scope="module")
def ended(slurm, make_table, tmp_path_factory) -> tuple[Sweep, dict[str, Case]]:
  """All at once, as most of it is waiting."""
  folder, alone, cases = map(
    tmp_path_factory.mktemp, ("sweep", "alone", "cases")
  )
  # One of two speakers is labelled: no folds to train besides.
  table = make_table(num_sessions=1, num_dialogues=4)
  commands = studies.commands(folder, table)
  trainings, last = begin_sweep(slurm, folder, commands)
  numbers = begin_cases(slurm, cases)
  job, log = f"{trainings}_2", folder / "2.log"
  wait_for(f"{folder}/speech/runs/*/*/*/checkpoints/1", 1, slurm, job, log)
  slurm.ask("scancel", "--signal=TERM", job)
  for name, arguments in STOPPED.items():
    job, log = numbers[name], cases / f"{name}.log"
    wait_for(f"{cases}/{name}/ready-*", 2, slurm, job, log)
    slurm.ask("scancel", *arguments, job)
  environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
  for name, given in commands.items():
    arguments = [*given, f"--workdir={alone}/{name}"]
    done = processes.run(studies.launch_without_figures, arguments, environment)
    assert done.returncode == 0, done.stderr
  slurm.wait()
  shown = {
    name: slurm.shown(f"{trainings}_{number}")
    for number, name in enumerate(commands, start=1)
  }
  sweep = Sweep(folder, shown | {"table": slurm.shown(last)}, alone)
  return sweep, {
    name: Case(slurm.shown(job), read(cases / f"{name}.log"), cases / name)
    for name, job in numbers.items()
  }


def begin_sweep(slurm, folder, commands) -> list[str]:
  """The numbers of its two jobs: the trainings', and the table's."""
  lines = (
    " ".join(f'"{word}"' for word in [*given, f"--workdir={folder}/{name}"])
    for name, given in commands.items()
  )
  (folder / "launch.py").write_text(LAUNCH, encoding="utf-8")
  (folder / "configs").symlink_to(ROOT / "configs")
  path = folder / "lines.txt"
  path.write_text("\n".join(lines) + "\n", encoding="utf-8")
  said = slurm.ask(
    *("bash", SCRIPTS / "sweep.sh", path, folder / "table", "--ntasks=2"),
    f"--output={folder}/%a.log",
    cwd=folder,
    PYTHONPATH=ROOT,
    XDG_CACHE_HOME=folder / "cache",
    SBATCH_OUTPUT=folder / "table.log",
  )
  return re.findall(r"\d+", said)


def begin_cases(slurm, folder) -> dict[str, str]:
  (folder / "launch.py").write_text(STAND_IN, encoding="utf-8")
  arguments = {name: [f"--workdir={name}/"] for name in STOPPED}
  for name, code in ENDED.items():
    arguments[name] = [f"--workdir=runs/{name}", f"--code={code}"]
  arguments["nowhere"] = ["--config=configs/dann.py"]
  script = SCRIPTS / "slurm.sh"
  return {
    name: slurm.ask(
      *("sbatch", "--parsable", "--ntasks=2", f"--output={name}.log"),
      *(script, *given),
      cwd=folder,
    )
    for name, given in arguments.items()
  }


def wait_for(pattern: str, count: int, slurm, job: str, log: pathlib.Path):
  """Until a running job has written so many files of this pattern."""
  while len(glob.glob(pattern)) < count:
    running = slurm.ask("squeue", "--noheader", f"--jobs={job}")
    assert running, f"no {pattern}: {read(log)}"
    time.sleep(0.2)


def read(path: pathlib.Path) -> str:
  return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["steps", "shell", "all"])
def test_a_job_that_is_told_to_stop_is_requeued_and_goes_on(ended, name):
  job, log, workdir = ended[1][name]
  assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1"), log
  for process in (0, 1):
    assert (workdir / f"end-{process}").exists()
    # The srun of 22.05 kills where it is told itself: then it goes on from the
    # first save.
    saved = f"process {process} saved" in log
    assert saved or name == "all", log
    assert f"process {process} begins at {1 + saved}\n" in log
  assert not workdir.with_suffix(".starts").exists()


def test_a_job_that_is_cancelled_saves_and_stays_away(ended):
  job, log, _ = ended[1]["cancelled"]
  assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0"), log
  assert log.count("saved") == 2


def test_an_interrupted_one_too(ended):
  job, log, _ = ended[1]["interrupted"]
  assert (job["JobState"], job["Restarts"]) == ("FAILED", "0"), log
  assert job["ExitCode"] == "130:0"
  assert log.count("saved") == 2


def test_three_starts_that_save_nothing_are_enough(ended):
  job, log, workdir = ended[1]["lost"]
  assert (job["JobState"], job["Restarts"]) == ("FAILED", "2"), log
  assert job["ExitCode"] == "75:0"
  *_, last = log.splitlines()
  assert last.startswith("error: 3 starts in a row saved nothing"), log
  assert not list(workdir.parent.glob("runs/*"))


def test_an_error_is_the_jobs_own(ended):
  job, log, _ = ended[1]["wrong"]
  assert (job["JobState"], job["Restarts"]) == ("FAILED", "0"), log
  assert job["ExitCode"] == "2:0"


def test_without_a_workdir_it_says_so(ended):
  job, log, _ = ended[1]["nowhere"]
  assert (job["JobState"], job["ExitCode"]) == ("FAILED", "2:0"), log
  assert log == "error: no --workdir=RUN in: --config=configs/dann.py\n"


def test_the_stopped_training_was_requeued(ended):
  sweep, _ = ended
  log = read(sweep.folder / "2.log")
  assert sweep.jobs["speech"]["Restarts"] == "1", log
  assert re.search("stopped after round [0-9]+ of 8", log), log
  assert re.search("goes on after round [0-9]+ of 8", log), log
  for name in ("dann", "rlps"):
    assert sweep.jobs[name]["Restarts"] == "0"


@pytest.mark.parametrize("name", ["dann", "speech", "rlps"])
def test_two_processes_come_to_what_one_comes_to(ended, name):
  sweep, _ = ended
  log = read(sweep.folder / f"{list(sweep.jobs).index(name) + 1}.log")
  assert sweep.jobs[name]["JobState"] == "COMPLETED", log
  two, one = (
    json.loads(read(folder / name / "summary.json"))
    for folder in (sweep.folder, sweep.alone)
  )
  assert two.pop("device").startswith("2 x ")
  assert one.pop("device").startswith("1 x ")
  one["date"] = two["date"]  # Midnight may lie between.
  assert_same(two, one)
  histories = (
    summary.read_arrays(folder / name / summary.HISTORY)
    for folder in (sweep.folder, sweep.alone)
  )
  assert_same(*histories)


def assert_same(one: Any, other: Any, where: str = "") -> None:
  """Numbers but for 1e-5, all else as it is."""
  assert type(one) is type(other), where
  if isinstance(one, dict):
    assert set(one) == set(other), where
    for name, value in one.items():
      assert_same(value, other[name], f"{where}/{name}")
  elif isinstance(one, list):
    assert len(one) == len(other), where
    for number, values in enumerate(zip(one, other, strict=True)):
      assert_same(*values, f"{where}/{number}")
  elif isinstance(one, float | np.ndarray):
    np.testing.assert_allclose(one, other, atol=1e-5, rtol=0, err_msg=where)
  else:
    assert one == other, where


def test_the_table_comes_last_and_holds_all(ended):
  sweep, _ = ended
  log = read(sweep.folder / "table.log")
  assert sweep.jobs["table"]["JobState"] == "COMPLETED", log
  for name in ("dann", "speech", "rlps"):
    assert sweep.jobs[name]["EndTime"] <= sweep.jobs["table"]["StartTime"]
  table = read(sweep.folder / "table" / "comparison.md")
  assert {"dann", "speech", "rlps"} <= set(table.split()), table
