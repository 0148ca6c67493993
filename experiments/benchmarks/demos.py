"""The three studies' demos, cut short, as real processes; and what they end in.

Some 15 seconds each, most of them start-up and report: enough rounds to be
killed between, few enough to be run a hundred times.
"""

import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
STUDIES = {
  "dann": (
    "--config.num_replicates=2",
    "--config.num_epochs=5",
    "--config.probe_replicates=1",
  ),
  "speech": ("--config.num_replicates=1", "--config.num_epochs=5"),
  "rlps": (
    "--config.num_replicates=1",
    "--config.pretraining_epochs=3",
    "--config.num_epochs=3",
    "--config.systems=('none', 'rlps')",
  ),
}
# The day, and what the numbers were computed with.
_FREE = ("date", "device", "versions")


def command(study: str, workdir: pathlib.Path, *more: str) -> list[str]:
  """What a user would type, saving after each round."""
  return [
    *(sys.executable, "launch.py", f"--config=configs/{study}.py"),
    *(f"--workdir={workdir}", "--config.checkpoint_every=1"),
    *(*STUDIES[study], *more),
  ]


def environment(cache: pathlib.Path, devices: int = 1) -> dict[str, str]:
  """With a cache folder, on so many simulated devices of the CPU."""
  return os.environ | {
    "XDG_CACHE_HOME": str(cache),
    "JAX_PLATFORMS": "cpu",
    # On a machine with other work a device may wait for the other's thread for
    # more than the 40 s after which XLA takes a program for stuck.
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
  }


def results(workdir: pathlib.Path) -> dict[str, Any]:
  """All numbers and words that a finished run ends in, by name.

  Of `summary.json`, `history.npz` and the weights in `model`.
  """
  text = (workdir / "summary.json").read_text(encoding="utf-8")
  fields = json.loads(text)
  found = dict(flatten({k: v for k, v in fields.items() if k not in _FREE}))
  with np.load(workdir / "history.npz") as arrays:
    found |= {f"history.npz/{name}": arrays[name] for name in arrays.files}
  for path in sorted((workdir / "model").rglob("*.safetensors")):
    found[str(path.relative_to(workdir))] = path.read_bytes()
  return found


def flatten(tree: Any, name: str = "summary.json") -> Iterator[tuple[str, Any]]:
  """The leaves of what JSON holds, by their paths."""
  if isinstance(tree, dict | list):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
      yield from flatten(value, f"{name}/{key}")
  else:
    yield name, tree


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
  """Names of what is not the same to the last bit in both results."""
  return sorted(
    name
    for name in one.keys() | other.keys()
    if name not in one
    or name not in other
    or not np.array_equal(one[name], other[name], equal_nan=_numeric(one[name]))
  )


def _numeric(value: Any) -> bool:
  return np.asarray(value).dtype.kind == "f"
