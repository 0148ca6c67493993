"""A short, always equal part of the fuzzing, and what it would notice."""

import collections
import logging
import os
import pathlib
import pickle
import sys
import tempfile
import warnings

import pytest

from emojax.errors import Unreadable, UserError
from experiments.robustness import fuzz, guard
from experiments.robustness.edits import Files
from experiments.robustness.parser import Parser

PARSERS = fuzz.parsers()
# As in a process of its own; what the house leaves out is left out here, too.
pytestmark = [
  pytest.mark.filterwarnings(one)
  for one in (
    "always",
    "ignore::DeprecationWarning",
    "ignore::UserWarning:PIL.TiffImagePlugin",
    "error::PIL.Image.DecompressionBombWarning",
  )
]
# These import PyTorch, for seconds: the whole command has them.
del PARSERS["speech transcriber"], PARSERS["vocabulary"]
INPUTS = collections.defaultdict(lambda: 12)
INPUTS |= {"report of runs": 1, "speech encoder": 5, "text encoder": 5}
INPUTS |= {"ELMo": 5, "trained system": 8}


@pytest.fixture(autouse=True)
def as_the_command_does(monkeypatch):
  guard.install()
  monkeypatch.setenv("HF_HUB_OFFLINE", "1")
  monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
  monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
  # As much memory as all tests before it have taken is no fault of these.
  monkeypatch.setattr(guard, "MEMORY", guard.peak_memory() + (2 << 30))


@pytest.mark.parametrize("name", PARSERS)
def test_malformed_inputs_are_read_or_refused_in_one_line(name, tmp_path):
  parser, found = PARSERS[name], []

  def visit(files: Files) -> None:
    found.append(fuzz.read(parser, files, tmp_path / "sandbox"))

  fuzz.prepare(parser, tmp_path / "sandbox")
  fuzz.draw(parser, 0, INPUTS[name], visit)
  assert len(found) == INPUTS[name]
  faults = [str(one) for one in found if one.is_fault]
  assert not faults, "\n".join(faults)


def test_the_same_seed_gives_the_same_inputs():
  drawn = [[], [], []]
  for inputs, seed in zip(drawn, (1, 1, 2), strict=True):
    fuzz.draw(PARSERS["manifest"], seed, 20, inputs.append)
  assert drawn[0] == drawn[1] != drawn[2]
  assert len({repr(sorted(files.items())) for files in drawn[0]}) == 20


def _open_outside(folder: pathlib.Path) -> None:
  (folder.parents[1] / "outside").write_text("x", encoding="utf-8")


def _log(folder: pathlib.Path) -> None:
  logging.getLogger("some.library").warning("once for each file")


def _refuse(folder: pathlib.Path) -> None:
  raise UserError("it is damaged")


def _refuse_by_name(folder: pathlib.Path) -> None:
  raise Unreadable(folder / "a", "damaged")


def _take_all(folder: pathlib.Path) -> None:
  raise UserError(f"{folder}: too large") from MemoryError()


def _wait(folder: pathlib.Path) -> None:
  while folder:
    pass


def _print(folder: pathlib.Path) -> None:
  os.write(2, b"libpng error\n" * 20)


@pytest.mark.parametrize(
  ("read", "kind"),
  [
    (lambda folder: None, "read"),
    (_refuse_by_name, "refused"),
    (_refuse, "message"),
    (_take_all, "memory"),
    (_wait, "hang"),
    (_print, "printed"),
    (_log, "warning"),
    (lambda folder: warnings.warn("odd", stacklevel=1), "warning"),
    (lambda folder: sys.exit(2), "exception"),
    (lambda folder: guard.require(False, "no label"), "contract"),
    (_open_outside, "executed"),
    (lambda folder: eval("1 + 1"), "executed"),
    (lambda folder: pickle.loads(b"cos\nsystem\n(S'true'\ntR."), "executed"),
    (lambda folder: os.system("true"), "executed"),
  ],
)
def test_each_fault_is_noticed(tmp_path, monkeypatch, read, kind):
  monkeypatch.setattr(guard, "SECONDS", 0.2)
  parser = Parser("any", 1, {}, None, read)
  files = {"a": b"x", "folder": None}
  assert fuzz.read(parser, files, tmp_path / "sandbox").kind == kind


def test_a_fault_is_made_smaller(tmp_path):
  def read(folder):
    if b"!" in (folder / "a").read_bytes():
      raise ValueError

  parser = Parser("any", 1, {"a": b"good", "b": b"good"}, None, read)
  files = {"a": b"x" * 50 + b"!" + b"x" * 50, "b": b"changed"}
  outcome = fuzz.read(parser, files, tmp_path / "sandbox")
  less = fuzz.smaller(parser, files, outcome, tmp_path / "sandbox")
  assert less == {"a": b"!"}
