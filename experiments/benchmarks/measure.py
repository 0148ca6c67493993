"""What the benchmarks share: sides in processes of their own, and numbers."""

import datetime
import functools
import json
import multiprocessing
import os
import pathlib
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from emojax.runtime import allocator

# Of a speech encoder: the random parts of training would make two sides differ.
STILL = {
  "hidden_dropout": 0.0,
  "activation_dropout": 0.0,
  "attention_dropout": 0.0,
  "feat_proj_dropout": 0.0,
  "layerdrop": 0.0,
  "apply_spec_augment": False,
}


class Process:
  """A side of a comparison in a process of its own.

  Sides take turns: one waits at its pipe while the other works, and nothing
  that one sets or starts is there for the other. Each keeps its memory, as our
  programs do.
  """

  def __init__(self, make: Callable, *arguments, cores: int | None = None):
    """Starts it; waits until `make` has made the side of the arguments.

    It has as many cores as are asked for, or all.
    """
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(theirs, cores, make, arguments), daemon=True
    )
    self._process.start()
    theirs.close()
    self._pipe.recv()

  def result(self, name: str, *arguments) -> Any:
    """What a method of the side gives."""
    self._pipe.send((True, name, arguments))
    return self._pipe.recv()

  def seconds(self, name: str, *arguments) -> float:
    """Wall-clock seconds of a method, which waits for its own result."""
    # PyTorch's threads go on spinning for a while after their work.
    time.sleep(0.3)
    self._pipe.send((False, name, arguments))
    return self._pipe.recv()

  def close(self) -> None:
    """Ends it, and with it what it holds."""
    self._pipe.close()
    self._process.join()


def _serve(pipe, cores, make, arguments) -> None:
  """What a `Process` runs."""
  if cores and hasattr(os, "sched_setaffinity"):
    # Before any library counts them.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  allocator.keep_memory()
  side = make(*arguments)
  pipe.send("ready")
  while True:
    try:
      wants_result, name, arguments = pipe.recv()
    except EOFError:  # Whoever asks has closed it, or is gone.
      return
    start = time.perf_counter()
    result = getattr(side, name)(*arguments)
    took = time.perf_counter() - start
    pipe.send(result if wants_result else took)


def alone(function: Callable, *arguments) -> Any:
  """What a function gives in a process of its own."""
  process = Process(functools.partial, function, *arguments)
  result = process.result("__call__")
  process.close()
  return result


def memory(name: str) -> int:
  """Bytes of this process by their name in /proc/self/status.

  `VmHWM`: the largest resident set so far; `RssAnon`: what is there now, mapped
  files left out.
  """
  status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
  return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024


def seconds(function: Callable, *arguments) -> float:
  """Wall-clock seconds of a call that waits for its result."""
  start = time.perf_counter()
  function(*arguments)
  return time.perf_counter() - start


def summary(values: Sequence[float]) -> dict:
  """Minimum, median and all values."""
  return {
    "min": min(values),
    "median": float(np.median(values)),
    "all": list(values),
  }


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict:
  """How many times faster ours is, turn by turn."""
  return summary([a / b for a, b in zip(theirs, ours, strict=True)])


def setting(*packages: str) -> dict:
  """Date, device, versions and load of a measurement."""
  return {
    "date": datetime.date.today().isoformat(),
    "device": f"{_processor()}, {os.cpu_count()} cores; "
    f"JAX on {jax.devices()[0].device_kind}",
    "versions": {
      "python": platform.python_version(),
      **{name: metadata.version(name) for name in ("jax", *packages)},
    },
    "load_average": os.getloadavg(),
  }


def write(found: Mapping[str, Any], path: str | os.PathLike) -> str:
  """Writes what was found as JSON, and returns its text."""
  text = json.dumps(found, indent=2)
  pathlib.Path(path).write_text(text + "\n", encoding="utf-8")
  return text


def _processor() -> str:
  """The processor's name, where the system says it."""
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    found = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8"))
    if found:
      return found[1]
  return platform.processor() or platform.machine()
