"""Fuzzes every parser of the house with malformed files.

  python -m experiments.robustness.fuzz --output=fuzz.json

Inputs are drawn by hypothesis from a seed: the same seed, the same inputs. Two
processes read them, each with a limit on its memory and an alarm, and record
what is run, opened and printed meanwhile. An input that is neither read nor
refused in one line is a fault; it is made smaller, kept in a folder, and read
again by `--again=FOLDER`. The exit code is 1 if there is any.
"""

import argparse
import collections
import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from typing import NamedTuple

import hypothesis
from hypothesis import HealthCheck, Phase, configuration

from emojax import markdown
from emojax.errors import UserError
from emojax.runtime.progress import progress
from experiments.robustness import guard
from experiments.robustness.edits import Files
from experiments.robustness.guard import READ, REFUSED, Outcome
from experiments.robustness.parser import Parser, write

# Nothing of hypothesis is kept where the command is given.
configuration.set_hypothesis_home_dir(tempfile.gettempdir())
_PROCESSES = 2
_AT_ONCE = 25  # Inputs of a task.
# Seconds without a word, after which a process hangs: at its start it imports.
_START, _SILENCE = 300.0, 120.0
_TRIES = 60  # To make a fault smaller,
_SHRINKING = 15.0  # in so many seconds.


class Task(NamedTuple):
  """Some inputs of a parser, by their seed."""

  parser: str
  seed: int
  count: int


def parsers() -> dict[str, Parser]:
  """All of them, by name."""
  # Only here: the first process starts without them.
  from experiments.robustness import pictures, runs, sounds, tables, weights

  rooms = tables, pictures, sounds, weights, runs
  return {one.name: one for room in rooms for one in room.PARSERS}


def draw(
  parser: Parser,
  seed: int,
  count: int,
  visit: Callable[[Files], None],
) -> None:
  """Visits so many inputs that differ; the same seed gives the same."""
  seen: set[bytes] = set()
  while len(seen) < count:
    _draw(parser, seed, count - len(seen), visit, seen)
    seed += 10**9 + 7


def _draw(parser, seed, count, visit, seen) -> None:
  """Visits at most so many; some that are drawn may have been `seen`."""
  most = len(seen) + count

  @hypothesis.seed(seed)
  @hypothesis.settings(
    max_examples=2 * count + 5,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
  )
  @hypothesis.given(parser.inputs)
  def each(files):
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).digest()
    if digest not in seen and len(seen) < most and files != parser.good:
      seen.add(digest)
      visit(files)

  each()


def read(parser: Parser, files: Files, sandbox: pathlib.Path) -> Outcome:
  """Lays an input into an empty folder and reads it there."""
  return guard.watch(parser.read, lay_out(files, sandbox), parser.named)


def lay_out(files: Files, sandbox: pathlib.Path) -> pathlib.Path:
  """The folder of an input, in a sandbox in which there is nothing else."""
  shutil.rmtree(sandbox, ignore_errors=True)
  write(sandbox / "input", files)
  # Where the house keeps what it computes, and Python what it needs once.
  os.environ["XDG_CACHE_HOME"] = str(sandbox / "cache")
  (sandbox / "tmp").mkdir()
  tempfile.tempdir = str(sandbox / "tmp")
  return sandbox / "input"


def smaller(
  parser: Parser, files: Files, outcome: Outcome, sandbox: pathlib.Path
) -> Files:
  """Undoes and cuts off what does not matter to a fault."""
  end = time.monotonic() + _SHRINKING
  tries = 0

  def still(candidate: Files) -> bool:
    nonlocal tries
    tries += 1
    if tries > _TRIES or time.monotonic() > end:
      return False
    found = read(parser, candidate, sandbox)
    return (found.kind, found.where) == (outcome.kind, outcome.where)

  for name in sorted(files):
    for other in ({}, {name: parser.good.get(name)}):
      candidate = {k: v for k, v in files.items() if k != name} | other
      if candidate != files and None not in other.values() and still(candidate):
        files = candidate
        break
  for name, content in files.items():
    size = len(content or b"") // 2
    while size:
      for place in range(0, len(files[name]), size):
        less = files[name][:place] + files[name][place + size :]
        if still({**files, name: less}):
          files = {**files, name: less}
          break
      else:
        size //= 2
  return files


def prepare(parser: Parser, sandbox: pathlib.Path) -> None:
  """Reads what is good: whatever has to be imported and compiled, is then."""
  folder = lay_out(parser.good, sandbox)
  # Of progress; and what is not read yet is refused.
  with (
    contextlib.redirect_stderr(io.StringIO()),
    contextlib.suppress(UserError),
  ):
    parser.read(folder)


def work(
  pipe: connection.Connection, sandbox: pathlib.Path, names: Sequence[str]
) -> None:
  """Reads the inputs of tasks until there are no more; says how they end."""
  os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
  known = parsers()
  for name in names:
    prepare(known[name], sandbox)
  guard.install()
  guard.limit_memory()
  shrunk = set()
  pipe.send(("ready",))
  for task in iter(pipe.recv, None):
    parser = known[task.parser]

    def visit(files, parser=parser):
      outcome = read(parser, files, sandbox)
      identity = (parser.name, outcome.kind, outcome.where)
      if outcome.is_fault and identity not in shrunk:
        shrunk.add(identity)
        if outcome.kind not in ("hang", "memory"):
          files = smaller(parser, files, outcome, sandbox)
      pipe.send((outcome, files if outcome.is_fault else None))
      if outcome.kind == "memory":
        os._exit(0)  # The peak of its memory does not go down again.

    draw(parser, task.seed, task.count, visit)
    pipe.send(("done", guard.peak_memory()))


class Worker:
  """A process that reads inputs, and what it is about."""

  def __init__(self, sandbox: pathlib.Path, names: Sequence[str]):
    self.sandbox = sandbox
    self._names = names
    self._start()

  def _start(self) -> None:
    context = get_context("spawn")
    self.pipe, theirs = context.Pipe()
    arguments = theirs, self.sandbox, self._names
    self.process = context.Process(target=work, args=arguments, daemon=True)
    self.process.start()
    theirs.close()
    self.task: Task | None = None
    self.left = 0
    self.is_ready = False
    self.heard = time.monotonic()

  def give(self, task: Task | None) -> None:
    self.task, self.left = task, task.count if task else 0
    self.pipe.send(task)

  def restart(self) -> Task | None:
    """A new process; gives what the old one has not done."""
    self.process.kill()
    self.process.join()
    task = self.task
    rest = None
    if task and self.left > 0:
      rest = Task(task.parser, task.seed + 1_000_003, self.left)
    self._start()
    return rest

  def input(self) -> Files:
    """What it read last, from its sandbox."""
    folder = self.sandbox / "input"
    return {
      str(path.relative_to(folder)): path.read_bytes()
      for path in sorted(folder.rglob("*"))
      if path.is_file()
    }


def run(
  tasks: Sequence[Task], processes: int, folder: pathlib.Path
) -> Iterator[tuple[str, Outcome | None, Files | None, int]]:
  """Yields of each input its parser, outcome, files of a fault; and memory."""
  waiting = collections.deque(tasks)
  names = list(dict.fromkeys(task.parser for task in tasks))
  workers = [Worker(folder / str(n), names) for n in range(processes)]
  busy = set(workers)
  while busy:
    ready = connection.wait([worker.pipe for worker in busy], 1.0)
    for worker in list(busy):
      message = None
      if worker.pipe in ready:
        worker.heard = time.monotonic()
        try:
          message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
          worker.process.join()
          message = "died", worker.process.exitcode
      elif time.monotonic() - worker.heard > (
        _SILENCE if worker.is_ready else _START
      ):
        message = "died", "hang"
      if message is None:
        continue
      if message[0] in ("ready", "done"):
        worker.is_ready = True
        if message[0] == "done":
          yield worker.task.parser, None, None, message[1]
        if not waiting:
          busy.remove(worker)
        worker.give(waiting.popleft() if waiting else None)
      elif message[0] == "died":
        if not worker.is_ready:
          raise RuntimeError(f"a process died at its start: {message[1]}")
        # After too much memory, of which it has spoken, it ends by itself.
        if message[1] != 0:
          kind = "hang" if message[1] == "hang" else "died"
          outcome = Outcome(kind, f"exit code {message[1]}", str(message[1]))
          worker.left -= 1
          yield worker.task.parser, outcome, worker.input(), 0
        rest = worker.restart()
        if rest:
          waiting.appendleft(rest)
      else:
        worker.left -= 1
        yield worker.task.parser, *message, 0
  for worker in workers:
    worker.process.join(10)


def share_out(
  known: dict[str, Parser], count: int, seed: int, only: str | None
) -> list[Task]:
  """The tasks: each parser has its share of the inputs."""
  chosen = [one for one in known.values() if only in (None, one.name)]
  if not chosen:
    raise SystemExit(f"no parser {only!r}; there are {', '.join(known)}")
  total = sum(one.share for one in chosen)
  ends = [
    count * sum(one.share for one in chosen[:n]) // total
    for n in range(len(chosen) + 1)
  ]
  tasks = []
  for place, (one, start, end) in enumerate(
    zip(chosen, ends[:-1], ends[1:], strict=True)
  ):
    for first in range(start, end, _AT_ONCE):
      number = (seed * 1009 + place) * 100_003 + first
      tasks.append(Task(one.name, number, min(_AT_ONCE, end - first)))
  return tasks


class Findings:
  """Counts by parser and outcome, and one reproducer of each fault."""

  def __init__(self, names: Sequence[str], folder: pathlib.Path):
    self.counts = {name: collections.Counter() for name in names}
    self.faults: dict[tuple, dict] = {}
    self.peak = 0
    self._folder = folder

  def add(self, parser: str, outcome: Outcome, files: Files | None) -> None:
    kind = outcome.kind if not outcome.is_fault else "fault"
    self.counts[parser][kind] += 1
    if not outcome.is_fault:
      return
    key = (parser, outcome.kind, outcome.where)
    if key in self.faults:
      self.faults[key]["count"] += 1
      return
    name = f"{parser.replace(' ', '-').replace('/', '-')}-{len(self.faults)}"
    self.faults[key] = {
      "parser": parser,
      "kind": outcome.kind,
      "where": outcome.where,
      "why": outcome.why,
      "input": name,
      "count": 1,
    }
    shutil.rmtree(self._folder / name, ignore_errors=True)
    write(self._folder / name, files)

  def table(self) -> str:
    """The counts as Markdown."""
    kinds = (READ, REFUSED, "fault")
    rows = [
      [name, *(str(counts[kind]) for kind in kinds)]
      for name, counts in self.counts.items()
    ]
    total = sum(self.counts.values(), collections.Counter())
    rows.append(["all", *(str(total[kind]) for kind in kinds)])
    return markdown.table([["Parser", *kinds], *rows], num_names=1)


def _again(folder: pathlib.Path, known: dict[str, Parser], name: str) -> int:
  """Reads a kept input once more, and prints how it comes out."""
  files = {
    str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
    for path in sorted(folder.rglob("*"))
    if path.is_file() or not any(path.iterdir())
  }
  with tempfile.TemporaryDirectory() as sandbox:
    prepare(known[name], pathlib.Path(sandbox, "worker"))
    guard.install()
    outcome = read(known[name], files, pathlib.Path(sandbox, "worker"))
  print(f"{outcome.kind}: {outcome.why} {outcome.where}")
  return int(outcome.is_fault)


def main() -> int:
  """Runs all inputs; the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--count", type=int, default=10_000, help="of inputs")
  parser.add_argument("--only", metavar="PARSER", help="the name of one parser")
  parser.add_argument("--output", help="JSON to write")
  parser.add_argument(
    "--faults", default="fuzz-faults", help="folder for inputs that fail"
  )
  parser.add_argument("--again", help="such an input, with --only")
  options = parser.parse_args()
  known = parsers()
  if options.again:
    return _again(pathlib.Path(options.again), known, options.only)
  tasks = share_out(known, options.count, options.seed, options.only)
  names = list(dict.fromkeys(task.parser for task in tasks))
  findings = Findings(names, pathlib.Path(options.faults))
  start = time.monotonic()
  with tempfile.TemporaryDirectory(prefix="emojax-fuzz-") as folder:
    found = run(tasks, _PROCESSES, pathlib.Path(folder))
    total = sum(task.count for task in tasks)
    outcomes = _peaks(found, findings)
    for name, outcome, files in progress(outcomes, total, "fuzz", "input"):
      findings.add(name, outcome, files)
      if outcome.is_fault:
        print(f"{name}: {outcome.kind}: {outcome.why}", file=sys.stderr)
  print(findings.table())
  if options.output:
    _save(pathlib.Path(options.output), options, findings, start)
  return int(bool(findings.faults))


def _peaks(found, findings: Findings) -> Iterator[tuple]:
  """Takes what is said of memory out of what is said of inputs."""
  for name, outcome, files, peak in found:
    findings.peak = max(findings.peak, peak)
    if outcome is not None:
      yield name, outcome, files


def _save(path: pathlib.Path, options, findings: Findings, start) -> None:
  from experiments.benchmarks import measure

  packages = ("hypothesis", "numpy", "pillow", "soundfile", "safetensors")
  packages += ("tokenizers", "transformers", "h5py", "ml-collections")
  content = {
    **measure.setting(*packages),
    "seed": options.seed,
    "seconds": round(time.monotonic() - start),
    "peak_gib": round(findings.peak / 2**30, 2),
    "inputs": sum(sum(one.values()) for one in findings.counts.values()),
    "counts": {
      name: {kind: counts[kind] for kind in (READ, REFUSED, "fault")}
      for name, counts in findings.counts.items()
    },
    "faults": list(findings.faults.values()),
  }
  path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
  sys.exit(main())
