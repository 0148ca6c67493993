"""What whole trainings take: processor, memory, disk.

  python -m experiments.benchmarks.trainings dann speech rlps \
      --output=experiments/benchmarks/trainings.json
  python -m experiments.benchmarks.trainings dann:ravdess \
      --config.data.path=RAVDESS --data="600 clips of RAVDESS" \
      --output=experiments/benchmarks/trainings.json

Each is the config as it stands, with the options that are given, from an empty
cache to the report, in a process of its own. CPU seconds are those of all its
threads and processes; the seconds of the clock beside them depend on what else
the machine does. Memory is the largest resident set of one of its processes.
What the file has of other trainings stays in it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from experiments.benchmarks import measure

ROOT = pathlib.Path(__file__).parents[2]
RESULT = pathlib.Path(__file__).with_suffix(".json")


def read(path: pathlib.Path = RESULT) -> dict[str, dict]:
  """What trainings took, by their names; nothing where there is no file."""
  if not path.exists():
    return {}
  return json.loads(path.read_text(encoding="utf-8"))


def row(name: str, found: dict) -> str:
  """A training as a line of the tables in docs/."""
  command = " ".join(["emojax train", name, *found["options"]])
  cells = (
    f"`{command}`",
    found.get("data", "the demo corpus"),
    f"{found['cpu_seconds'] / 60:.1f} min",
    f"{found['memory_bytes'] / 1e9:.1f} GB",
    *(f"{found[of] / 1e6:.0f} MB" for of in ("run_bytes", "cache_bytes")),
  )
  return f"| {' | '.join(cells)} |"


def train(name: str, options: list[str], folder: pathlib.Path) -> dict:
  """What a training takes that leaves its run and its cache in a folder."""
  study, _, variant = name.partition(":")
  config = f"configs/{study}.py{variant and f':{variant}'}"
  run, cache, log = (folder / name for name in ("run", "cache", "log"))
  start = time.perf_counter()
  with log.open("w", encoding="utf-8") as said:
    process = subprocess.Popen(
      [
        *(sys.executable, "launch.py", f"--config={config}"),
        *(f"--workdir={run}", *options),
      ],
      cwd=ROOT,
      env=os.environ | {"XDG_CACHE_HOME": str(cache)},
      stdout=said,
      stderr=said,
    )
    # Of the process, and of all below it that it has waited for.
    _, status, used = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise SystemExit(f"{name} has failed:\n{end}")
  return {
    "options": options,
    "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
    "seconds": round(time.perf_counter() - start, 1),
    "memory_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    "run_bytes": size(run),
    "cache_bytes": size(cache),
  }


def size(folder: pathlib.Path) -> int:
  """Bytes of all files below a folder."""
  files = (path for path in folder.rglob("*") if not path.is_symlink())
  return sum(path.stat().st_size for path in files if path.is_file())


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], allow_abbrev=False
  )
  parser.add_argument("names", nargs="+", help="configs, as speech:whisper")
  parser.add_argument("--data", help="what of which corpus; else the demo's")
  parser.add_argument("--output", type=pathlib.Path, help="a JSON file")
  arguments, options = parser.parse_known_args()
  for name in arguments.names:
    with tempfile.TemporaryDirectory() as folder:
      found = train(name, options, pathlib.Path(folder))
    found |= {"data": arguments.data} if arguments.data else {}
    found |= measure.setting("jaxlib", "flax")
    print(row(name, found), flush=True)
    if arguments.output:
      others = read(arguments.output)
      measure.write(others | {name: found}, arguments.output)


if __name__ == "__main__":
  main()
