"""`kill -9` at random moments: does the same command end as if nothing was?

  python -m experiments.benchmarks.kills --output=kills.json

Runs of the three studies' demos, cut short, are killed at moments drawn from
the whole life of the process: imports, reading, training, saving, the report.
The same command then goes on, is killed again perhaps, and ends. Its summary,
histories and weights are compared with those of a run that nobody disturbed,
bit for bit; every checkpoint that was finished when the kill came has to be
there afterwards, and the next process has to go on from it.

Then, where a file system can be mounted (as root), the disk fills up while
checkpoints are saved: the command ends with one line, and goes on when there
is room.
"""

import argparse
import collections
import json
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import numpy as np

from emojax.runtime import files
from experiments.benchmarks import demos, measure

_GOES_ON = re.compile(r"(\S+) goes on after round (\d+) of \d+")
_TEMPORARY = "*.orbax-checkpoint-tmp"
_SHARES = (0.35, 0.7, 0.97)  # Of the room that a run takes in the end.


class Broken(Exception):
  """Something was lost, or is not the same."""


def start(study, workdir, cache) -> subprocess.Popen:
  return subprocess.Popen(
    demos.command(study, workdir),
    cwd=demos.ROOT,
    env=demos.environment(cache),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    encoding="utf-8",
  )


def uninterrupted(study, folder, cache, times):
  """Results, seconds and size in bytes of a run that nobody disturbs.

  The first one warms the cache; all have to end in the same.
  """
  found = []
  for number in range(times):
    workdir, began = folder / f"{study}-whole-{number}", time.monotonic()
    process = start(study, workdir, cache)
    _, said = process.communicate()
    if process.returncode:
      raise Broken(f"{study}: {said}")
    seconds = time.monotonic() - began
    found.append(demos.results(workdir))
  if different := demos.differing(found[0], found[-1]):
    raise Broken(f"{study}: two runs differ in {different}")
  paths = [path for path in workdir.rglob("*") if path.is_file()]
  return found[0], seconds, sum(path.stat().st_size for path in paths)


def finished_checkpoints(workdir: pathlib.Path) -> dict[str, int]:
  """The newest finished round of each run folder that has one."""
  found = {}
  for folder in workdir.rglob("checkpoints"):
    rounds = [
      int(path.name) for path in folder.iterdir() if path.name.isdigit()
    ]
    if rounds:
      found[str(folder.parent)] = max(rounds)
  return found


def stage(workdir: pathlib.Path) -> str:
  """What a killed process was about, as far as its folder tells."""
  if (workdir / "summary.json").exists():
    return "ending"
  if any(workdir.rglob(_TEMPORARY)):
    return "saving a checkpoint"
  if not any(workdir.rglob("checkpoints")):
    return "before the first checkpoint"
  if (workdir / "report.md").exists() or any(workdir.glob("*.png")):
    return "writing the report"
  return "training, or about to report"


def check_kept(before: dict[str, int], workdir, said: str) -> None:
  """Nothing of `before` has gone, and whoever went on did so from there.

  Raises `Broken`.
  """
  if "damaged" in said:
    raise Broken(said)
  for folder, round_ in finished_checkpoints(workdir).items():
    if round_ < before.get(folder, 0):
      raise Broken(f"{folder}: had round {before[folder]}, now {round_}")
  for folder, round_ in _GOES_ON.findall(said):
    if int(round_) != before.get(folder, 0):
      raise Broken(
        f"{folder}: goes on after {round_}, had {before.get(folder)}"
      )


def killed_run(study, workdir, cache, pace, times, rng) -> dict:
  """A run that is killed so often; what happened to it.

  Args:
    pace: seconds of an uninterrupted run by study, from which the moments are
      drawn; what the machine takes now is put in its place.
    times: kills.
  """
  kills, resumed, before = [], 0, {}
  while True:
    last = len(kills) == times
    moment, began = rng.uniform(0, pace[study]), time.monotonic()
    process = start(study, workdir, cache)
    try:
      _, said = process.communicate(timeout=None if last else moment)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      _, said = process.communicate()
    check_kept(before, workdir, said)
    resumed += bool(_GOES_ON.search(said))
    if process.returncode == 0 and not last:
      # It was quicker: from the beginning.
      shutil.rmtree(workdir)
      if not kills:
        pace[study] = time.monotonic() - began
      kills, resumed, before = [], 0, {}
    elif process.returncode == 0:
      return {
        "study": study,
        "kills": kills,
        "went_on_from_a_checkpoint": resumed,
      }
    elif process.returncode == -signal.SIGKILL:
      kills.append({"seconds": round(moment, 2), "stage": stage(workdir)})
      before = finished_checkpoints(workdir)
    else:
      raise Broken(f"{study}: exit code {process.returncode}: {said}")


def full_disk(study, folder, cache, size, share, expected) -> dict:
  """A run on a disk with room for a share of it, and then with more.

  Raises `Broken`, or PermissionError where nothing can be mounted.
  """
  disk = folder / "disk"
  disk.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", f"size={round(share * size)}"]
  done = subprocess.run(
    [*mount, "tmpfs", str(disk)], capture_output=True, text=True
  )
  if done.returncode:
    raise PermissionError(done.stderr.strip())
  try:
    workdir = disk / "run"
    process = start(study, workdir, cache)
    _, said = process.communicate()
    *_, line = said.strip().splitlines()
    if process.returncode != 2 or "Traceback" in said:
      raise Broken(f"{study}, full disk: {process.returncode}: {said}")
    before = finished_checkpoints(workdir)
    subprocess.run(
      ["mount", "-o", f"remount,size={10 * size}", str(disk)], check=True
    )
    process = start(study, workdir, cache)
    _, said = process.communicate()
    check_kept(before, workdir, said)
    if process.returncode:
      raise Broken(f"{study}, room again: {said}")
    different = demos.differing(expected, demos.results(workdir))
    if different:
      raise Broken(f"{study}, full disk: differs in {different}")
  finally:
    subprocess.run(["umount", "-l", str(disk)], check=True)
    disk.rmdir()
  return {
    "study": study,
    "bytes": round(share * size),
    "said": line.replace(str(disk), "DISK"),
    "finished_rounds": sum(before.values()),
    "went_on_from_a_checkpoint": bool(_GOES_ON.search(said)),
    "identical": True,
  }


def full_disks(folder, cache, whole) -> list[dict] | str:
  """All studies on disks that fill up; or why none can be had."""
  try:
    return [
      full_disk(study, folder, cache, size, share, expected)
      for study, (expected, _, size) in whole.items()
      for share in _SHARES
    ]
  except (PermissionError, FileNotFoundError) as error:
    return f"not run: {error}"


def _sums(runs: list[dict]) -> dict:
  """How many kills, at which stages, and how many ended as if without."""
  stages = collections.Counter(
    kill["stage"] for run in runs for kill in run["kills"]
  )
  return {
    "kills": sum(stages.values()),
    "stages": dict(stages),
    "killed_runs": len(runs),
    "identical_runs": sum(not run["different"] for run in runs),
    "runs_that_went_on_from_a_checkpoint": sum(
      bool(run["went_on_from_a_checkpoint"]) for run in runs
    ),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--runs", type=int, default=50, help="that are killed")
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument("--cache", type=pathlib.Path, help="that is warm already")
  flags = parser.parse_args()
  found = {
    **measure.setting("jaxlib", "flax", "orbax-checkpoint"),
    "compared_bit_for_bit": "summary.json without date, device and versions; "
    "all arrays of history.npz; all weights in model",
    "checked": "each finished checkpoint is there after the kill, and the next "
    "process says that it goes on after that round",
    "runs": [],
  }
  if flags.output.exists():  # Goes on where it was stopped.
    found |= json.loads(flags.output.read_text(encoding="utf-8"))

  def save():
    found.update(_sums(found["runs"]))
    with files.whole(flags.output) as path:
      measure.write(found, path)

  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    cache = flags.cache or folder / "cache"
    whole = {
      study: uninterrupted(study, folder, cache, 1 if found["runs"] else 2)
      for study in demos.STUDIES
    }
    pace = {study: seconds for study, (_, seconds, _) in whole.items()}
    found["seconds_uninterrupted"] = dict(pace)
    for number in range(len(found["runs"]), flags.runs):
      study = list(demos.STUDIES)[number % len(demos.STUDIES)]
      expected, *_ = whole[study]
      rng = np.random.default_rng((flags.seed, number))
      workdir = folder / f"killed-{number}"
      # One in six of each study is killed three times on its way.
      times = 3 if number // len(demos.STUDIES) % 6 == 1 else 1
      try:
        run = killed_run(study, workdir, cache, pace, times, rng)
        run["different"] = demos.differing(expected, demos.results(workdir))
      except Broken as error:
        run = {"study": study, "kills": [], "went_on_from_a_checkpoint": 0}
        run["different"] = [str(error)[-600:]]
      found["runs"].append(run)
      print(number, found["runs"][-1], flush=True)
      shutil.rmtree(workdir, ignore_errors=True)
      save()
    found["full_disk"] = full_disks(folder, cache, whole)
    save()
  if any(run["different"] for run in found["runs"]):
    raise SystemExit("not all ended in the same: see `different`")


if __name__ == "__main__":
  main()
