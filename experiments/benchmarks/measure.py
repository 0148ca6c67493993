"""What the benchmarks share."""

import datetime
import json
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

# Of a speech encoder: the random parts of training would make two sides differ.
STILL = {
  "hidden_dropout": 0.0,
  "activation_dropout": 0.0,
  "attention_dropout": 0.0,
  "feat_proj_dropout": 0.0,
  "layerdrop": 0.0,
  "apply_spec_augment": False,
}


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
