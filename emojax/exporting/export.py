"""A trained system as a folder that needs no emojax.

OUT/
  model.stablehlo, weights.safetensors    or    model.onnx
  card.json      what it takes and gives, see `card.make`
  program.py     loads it as a function of named arrays
  run.py         runs it on files
  README.md
"""

import dataclasses
import importlib.resources
import importlib.util
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from emojax.errors import UserError, extra
from emojax.exporting import card, scripts, signatures, stablehlo
from emojax.exporting.signatures import Signature
from emojax.runtime import environment, files, process
from emojax.systems import stored

# Relative to the largest value, or to 1: far above what rounding does.
_CLOSE = {"float32": 1e-4, "bfloat16": 5e-2}


class Format(NamedTuple):
  """A kind of program: who writes it, and the packages that run it."""

  write: Callable[[pathlib.Path, Signature], None]
  needs: tuple[str, ...]


def _write_onnx(folder: pathlib.Path, signature: Signature) -> None:
  from emojax.exporting import onnx_program  # Its package is an extra.

  onnx_program.write(folder, signature)


FORMATS = {
  "stablehlo": Format(stablehlo.write, ("jax", "flatbuffers", "safetensors")),
  "onnx": Format(_write_onnx, ("onnxruntime",)),
}
_EXTRA = ("onnx", "onnxruntime")


def check(target: str | os.PathLike, format_: str) -> None:
  """Raises UserError now, not after the work; see `export`."""
  if format_ not in FORMATS:
    formats = ", ".join(FORMATS)
    raise UserError(f"--format={format_}: there is {formats}")
  if format_ == "onnx":
    missing = [name for name in _EXTRA if not importlib.util.find_spec(name)]
    if missing:
      raise UserError(
        f"--format=onnx takes {', '.join(missing)}: {extra('export')}"
      )
  if os.path.lexists(target):
    raise UserError(f"{target} exists: name a folder that is not there yet")


def export(
  name: str | os.PathLike, target: str | os.PathLike, format_: str
) -> dict[str, Any]:
  """Writes a system as a folder, whole or not at all, and gives its card.

  Args:
    name: a run or a hub id, see `stored.load`.
    target: the folder, which is not there yet.
    format_: one of `FORMATS`.

  Raises:
    UserError: no such format, or its packages are missing; the folder exists;
      no such system, or one that the format has no words for.
  """
  check(target, format_)
  system, params = stored.load(name)
  if format_ == "onnx" and getattr(system, "dtype", "") == "bfloat16":
    # Runtimes have few operations of it.
    system = dataclasses.replace(system, dtype="float32")
  signature = signatures.of(system, params)
  said = card.make(system, signature, format_, FORMATS[format_].needs)
  said |= card.origin_of(stored.find(name))
  folder = pathlib.Path(target)
  with files.explained(folder):
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}."
    work = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    # What a GPU multiplies by itself has ten bits, and a TPU's seven.
    with (
      jax.default_matmul_precision("float32"),
      process.undone(lambda: shutil.rmtree(work, ignore_errors=True)),
    ):
      work.chmod(0o755)  # `mkdtemp` keeps others out.
      FORMATS[format_].write(work, signature)
      for file, script in (("program.py", format_), ("run.py", system.kind)):
        source = importlib.resources.files(scripts) / f"{script}.py"
        (work / file).write_bytes(source.read_bytes())
      card.write(work, said)
      said |= _compare(work, said, signature)
      card.write(work, said)
      card.write_page(work, said)
      work.rename(folder)
  return said


def _compare(
  folder: pathlib.Path, said: dict[str, Any], signature: Signature
) -> dict[str, Any]:
  """How far the program is from the system; raises a UserError if too far."""
  module = f"{scripts.__name__}.{said['format']}"
  call = importlib.import_module(module).load(folder)
  inputs = signature.example(np.random.default_rng(0))
  expected = jax.jit(signature.function)(signature.weights, *inputs)
  found = call(**dict(zip(signature.inputs, inputs, strict=True)))
  differences = {}
  for own, (name, values) in zip(expected, found.items(), strict=True):
    largest = np.abs(own - values).max()
    if not largest <= _CLOSE[said["computes_in"]] * max(1, np.abs(own).max()):
      raise UserError(
        f"the program's {name} differ by {largest:.1e} from the system's: it "
        "is of no use; please report this run's system.json"
      )
    differences[name] = float(largest)
  device = environment.describe()["device"]
  return {"largest_difference": differences, "compared_on": device}
