"""The same numbers on any number of devices and processes: how nearly the same.

  python -m experiments.benchmarks.equality --output=equality.json

The three studies' demos, cut short: on 1, 2, 4 and 8 simulated devices of one
process; by two and by four processes on loopback, which talk over gloo; and by
two processes each in a network namespace of its own, joined by a cable of two
virtual cards, as two hosts are (where this may make them, as root). Each
summary is compared with that of one process on one device.
"""

import argparse
import contextlib
import json
import pathlib
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np

from emojax.runtime import files
from experiments.benchmarks import demos, measure

GOAL = 1e-5
LOOPBACK = "127.0.0.1"
# Processes and devices of each.
CASES = ((1, 2), (1, 4), (1, 8), (2, 1), (4, 1))
# Max pooling, and what RLPS samples, make a difference of the last bit a large
# one within some steps, on one device as on many. Where the steps are small, it
# stays what it is, and anything else that differs would still be seen.
_SMALL = ("--config.num_epochs=2", "--config.optimizer.learning_rate=0.00001")
VARIANTS = {
  "dann": ("dann",),
  "speech": ("speech",),
  "speech, small steps": ("speech", *_SMALL),
  "rlps": ("rlps",),
  "rlps, small steps": (
    *("rlps", *_SMALL, "--config.policy.learning_rate=0.000001"),
  ),
}
# Figures take a third of the time, and know nothing of devices.
_WITHOUT_FIGURES = """
import sys
from emojax.runtime import process
process.begin()
from emojax.reports import study
study.files = lambda *_: {}
import launch
from emojax import cli
sys.exit(cli.run(launch.main, sys.argv))
"""
_SUBNET = "10.199.77"


def free_port() -> int:
  with socket.socket() as one:
    one.bind((LOOPBACK, 0))
    return one.getsockname()[1]


@contextlib.contextmanager
def two_hosts(name: str = "emojax") -> Iterator[list[str]]:
  """Two network namespaces that reach each other, and nothing else.

  The machine's name stands for another address in each, as on two hosts: gloo
  tells the others where it listens by that.

  Yields:
    Their names; the address of the i-th one is `host_address(i)`.

  Raises:
    PermissionError, FileNotFoundError: they can not be made here, and why.
  """
  spaces, made = [f"{name}-{i}" for i in range(2)], []
  folders = [pathlib.Path("/etc/netns", space) for space in spaces]
  try:
    for i, space in enumerate(spaces):
      _ip("netns", "add", space)
      made.append(space)
      folders[i].mkdir(parents=True, exist_ok=True)
      hosts = (
        f"{LOOPBACK} localhost\n{host_address(i)} {socket.gethostname()}\n"
      )
      (folders[i] / "hosts").write_text(hosts, encoding="utf-8")
    cards = [f"{name[:8]}-v{i}" for i in range(2)]
    _ip("link", "add", cards[0], "type", "veth", "peer", "name", cards[1])
    for i, (space, card) in enumerate(zip(spaces, cards, strict=True)):
      _ip("link", "set", card, "netns", space)
      inside = ("-n", space)
      _ip(*inside, "addr", "add", f"{host_address(i)}/24", "dev", card)
      _ip(*inside, "link", "set", card, "up")
      _ip(*inside, "link", "set", "lo", "up")
    yield spaces
  finally:
    for space in made:
      _ip("netns", "del", space)  # The cards go with them.
    for folder in folders:
      (folder / "hosts").unlink(missing_ok=True)
      with contextlib.suppress(OSError):
        folder.rmdir()


def host_address(number: int) -> str:
  return f"{_SUBNET}.{number + 1}"


def _ip(*arguments: str) -> None:
  done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
  if done.returncode:
    raise PermissionError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def together(
  commands: Sequence[Sequence[str]], environment: dict[str, str], address: str
) -> list[subprocess.CompletedProcess]:
  """Runs the commands of all processes of a training; the first is at address.

  Raises RuntimeError where one of them fails.
  """
  port = free_port()
  started = [
    subprocess.Popen(
      [
        *(*command, "--distributed", f"--coordinator={address}:{port}"),
        *(f"--process_id={number}", f"--num_processes={len(commands)}"),
      ],
      cwd=demos.ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      encoding="utf-8",
    )
    for number, command in enumerate(commands)
  ]
  said = [process.communicate() for process in started]
  done = [
    subprocess.CompletedProcess(p.args, p.returncode, *texts)
    for p, texts in zip(started, said, strict=True)
  ]
  if any(one.returncode for one in done):
    raise RuntimeError("\n".join(one.stderr for one in done))
  return done


def alone(command: Sequence[str], environment: dict[str, str]) -> None:
  """Runs the command of a training by one process, raising as `together`."""
  done = subprocess.run(
    command, cwd=demos.ROOT, env=environment, capture_output=True, text=True
  )
  if done.returncode:
    raise RuntimeError(done.stderr)


def run(variant, workdir, cache, processes, devices, spaces=()) -> None:
  """A whole study by so many processes of so many devices each."""
  study, *changes = VARIANTS[variant]
  environment = demos.environment(cache, devices)
  python, _, *more = demos.command(study, workdir, *changes)
  command = [python, "-c", _WITHOUT_FIGURES, *more]
  if processes == 1:
    alone(command, environment)
    return
  entries = [("ip", "netns", "exec", space) for space in spaces]
  commands = [(*entry, *command) for entry in entries or [()] * processes]
  together(commands, environment, host_address(0) if spaces else LOOPBACK)


def reason(said: str) -> list[str]:
  """The lines of stderr that tell why a process ended; else the last ones."""
  lines = said.splitlines()
  found = [line for line in lines if re.match(r"F\d{4}|error:|\w+Error", line)]
  return [line[:400] for line in found or lines[-5:]]


def compare(one: dict, other: dict) -> dict:
  """Largest differences of results of `demos.results`, and where they are."""
  numbers = {
    name: value
    for name, value in one.items()
    if isinstance(value, int | float) and not isinstance(value, bool)
  }
  history = {name: v for name, v in one.items() if name.startswith("history")}
  words = one.keys() - numbers.keys() - history.keys()
  words = {name for name in words if not isinstance(one[name], bytes)}
  found = {
    "other_names": sorted(one.keys() ^ other.keys()),
    "other_words": sorted(n for n in words if other.get(n) != one[n]),
  }
  for title, values in (("summary", numbers), ("history", history)):
    gaps = {
      name: float(np.max(np.abs(np.subtract(value, other[name], dtype=float))))
      for name, value in values.items()
      if name in other
    }
    largest = max(gaps, key=gaps.get)
    found[f"largest_difference_of_{title}"] = gaps[largest]
    found[f"where_in_{title}"] = largest if gaps[largest] else ""
  return found


def cases_of(variant, cache, folder, spaces) -> Iterator[tuple[str, dict]]:
  """All cases of a study, each compared with one process on one device."""
  whole = folder / f"{variant}-1-1"
  run(variant, whole, cache, 1, 1)
  expected = demos.results(whole)
  cases = (*CASES, (2, "namespaces")) if spaces else CASES
  for processes, devices in cases:
    title = f"{processes} x {devices}"
    workdir, start = folder / f"{variant}-{title}".replace(" ", ""), time.time()
    is_apart = devices == "namespaces"
    more = (1, spaces) if is_apart else (devices,)
    try:
      run(variant, workdir, cache, processes, *more)
      found = compare(expected, demos.results(workdir))
    except RuntimeError as error:
      found = {"failed": reason(str(error))}
    yield title, found | {"seconds": round(time.time() - start, 1)}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
  parser.add_argument("--cache", type=pathlib.Path, help="that is warm already")
  flags = parser.parse_args()
  found = {
    **measure.setting("jaxlib", "flax"),
    "goal": GOAL,
    "cases": "processes x devices of each, against 1 x 1",
    "studies": {},
  }
  if flags.output.exists():  # Other variants stay what they are.
    found |= json.loads(flags.output.read_text(encoding="utf-8"))
  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    folder, spaces = pathlib.Path(folder), ()
    try:
      spaces = stack.enter_context(two_hosts())
    except (PermissionError, FileNotFoundError) as error:
      found["namespaces"] = f"not run: {error}"
    cache = flags.cache or folder / "cache"
    for variant in flags.variants:
      rows = found["studies"].setdefault(variant, {})
      for title, rows[title] in cases_of(variant, cache, folder, spaces):
        print(variant, title, rows[title], flush=True)
        with files.whole(flags.output) as path:
          text = json.dumps(found, indent=2)
          path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
