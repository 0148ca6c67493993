"""What is measured on one GPU, within five minutes, as one JSON file.

  bash experiments/benchmarks/gpu.sh OUT.json

Each part is a process of its own with a limit of its own. The file is written
anew after each: whatever fails, hangs or is killed, this script itself
included, loses no other part. What a part had found when it was stopped is
kept. Installs nothing; where PyTorch is missing, only emojax is measured.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from emojax.runtime import files

# Seconds of each part. What it measures is in `gpu_parts`, in a function of its
# name; the first five are measured unless others are asked for.
LIMITS = {
  "attention": 20,
  "augmentation": 25,
  "rlps": 35,
  "kernels": 110,
  "encoders": 105,
  "determinism": 75,
  "table2": 110,
}
USUAL = tuple(LIMITS)[:5]
_LAST_LINES = 12
_ENDING = signal.SIGINT, signal.SIGTERM


def run(
  output: pathlib.Path,
  commands: Mapping[str, Sequence[str]],
  limits: Mapping[str, float],
  total: float,
) -> dict:
  """Runs all parts, one after the other, and keeps what they find.

  Args:
    output: the JSON file.
    commands: of each part; it gets the path of a JSON file as its last
      argument, and may write that as often as it likes.
    limits: seconds of each part.
    total: seconds of all together.

  Returns:
    What the file holds: for each part its `outcome` (finished, an exit code, a
    signal, or that it was stopped), `seconds`, `limit_seconds`, what it
    `found`, and the last lines that it printed if it did not finish.
  """
  start = time.monotonic()
  result = {"limit_seconds": total, "parts": {}}
  for name, command in commands.items():
    left = max(total - (time.monotonic() - start), 0)
    part = run_part(command, min(limits[name], left))
    result["parts"][name] = part
    result["seconds"] = round(time.monotonic() - start, 1)
    with files.whole(output) as path:
      path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {part['outcome']}, {part['seconds']} s", flush=True)
  return result


def run_part(command: Sequence[str], limit: float) -> dict:
  """Runs one part; see `run`."""
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    found, log = pathlib.Path(folder, "found.json"), pathlib.Path(folder, "log")
    outcome, process = "finished", None
    # Who asks us to end while the part starts is heard when we know its number.
    # The part itself stays deaf: it is ended by SIGKILL alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    hear = functools.partial(signal.pthread_sigmask, signal.SIG_SETMASK, before)
    try:
      with log.open("wb") as file:
        process = subprocess.Popen(
          [*command, str(found)],
          stdout=file,
          stderr=subprocess.STDOUT,
          start_new_session=True,
        )
      hear()
      if code := process.wait(limit):
        outcome = f"exit code {code}" if code > 0 else f"signal {-code}"
    except subprocess.TimeoutExpired:
      outcome = f"stopped after {limit:.0f} s"
    finally:
      if process is not None:
        with contextlib.suppress(ProcessLookupError):  # With what it started.
          os.killpg(process.pid, signal.SIGKILL)
        process.wait()
      hear()
    part = {
      "outcome": outcome,
      "seconds": round(time.monotonic() - start, 1),
      "limit_seconds": round(limit, 1),
      "found": _read(found),
    }
    if outcome != "finished":
      lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
      part["last_lines"] = [line[:300] for line in lines[-_LAST_LINES:]]
    return part


def _read(path: pathlib.Path) -> dict | None:
  """What a part has written; None if nothing, or nothing whole."""
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return None


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("output", type=pathlib.Path, help="JSON file to write")
  parser.add_argument("--tiny", action="store_true", help="to try it on a CPU")
  parser.add_argument("--parts", nargs="+", default=USUAL, choices=LIMITS)
  flags = parser.parse_args()
  # As Ctrl-C does: the part that runs is ended, too.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  module = "experiments.benchmarks.gpu_parts"
  tiny = ["--tiny"] if flags.tiny else []
  commands = {
    name: [sys.executable, "-m", module, name, *tiny] for name in flags.parts
  }
  total = sum(LIMITS[name] for name in flags.parts)
  result = run(flags.output, commands, LIMITS, total)
  sys.exit(any(p["outcome"] != "finished" for p in result["parts"].values()))


if __name__ == "__main__":
  main()
