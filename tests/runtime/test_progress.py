"""A bar on a terminal, few plain lines anywhere else."""

import io
import itertools
import sys

import pytest

from emojax.runtime import progress as progress_module
from emojax.runtime.progress import progress


class Terminal(io.StringIO):
  """A stderr that says it is a terminal."""

  def isatty(self) -> bool:
    return True


class Clock:
  """A monotonic clock that only moves when told to."""

  def __init__(self):
    self.now = 0.0

  def __call__(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
  clock = Clock()
  monkeypatch.setattr(progress_module.time, "monotonic", clock)
  return clock


@pytest.mark.parametrize("stderr", [Terminal(), io.StringIO()])
def test_of_nothing_nothing_is_said(monkeypatch, stderr):
  monkeypatch.setattr(sys, "stderr", stderr)
  assert list(progress(iter(()), total=0)) == []
  assert not stderr.getvalue()


@pytest.mark.parametrize("stderr", [Terminal(), io.StringIO()])
def test_items_come_through_unchanged(monkeypatch, stderr):
  monkeypatch.setattr(sys, "stderr", stderr)
  assert list(progress(iter("abc"), total=3)) == ["a", "b", "c"]


def test_terminal_gets_a_bar(monkeypatch):
  terminal = Terminal()
  monkeypatch.setattr(sys, "stderr", terminal)
  list(progress(range(3), description="epochs", unit="epoch"))
  assert "\r" in terminal.getvalue()
  assert "epochs: 100%" in terminal.getvalue()
  assert "3/3" in terminal.getvalue()


def test_notebook_gets_its_bar_on_stdout(monkeypatch, capsys):
  """On stderr it would look like an error."""
  stream = type(
    "OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"}
  )
  monkeypatch.setattr(sys, "stderr", stream())
  list(progress(range(3), description="epochs", unit="epoch"))
  assert not sys.stderr.getvalue()
  assert "\repochs: 100%" in capsys.readouterr().out


def test_log_gets_one_line_for_a_quick_loop(capsys):
  list(progress(range(1000), description="clips", unit="clip"))
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("clips: 1000/1000 [")
  assert "clip/s" in line


def test_log_gets_a_line_every_thirty_seconds_and_a_last_one(capsys, clock):
  for _ in progress(range(100), description="clips"):
    clock.now += 1.0
  lines = capsys.readouterr().err.splitlines()
  assert [line.split(" [")[0] for line in lines] == [
    "clips: 30/100",
    "clips: 60/100",
    "clips: 90/100",
    "clips: 100/100",
  ]
  assert "\r" not in "".join(lines)
  assert "[00:30<01:10, " in lines[0]


def test_last_line_is_not_printed_twice(capsys, clock):
  for _ in progress(range(2)):
    clock.now += 30.0
  assert len(capsys.readouterr().err.splitlines()) == 2


def test_unknown_total(capsys):
  for item in progress(itertools.count(), unit="clip"):
    if item == 7:
      break
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("7 [")


def test_an_error_in_the_loop_still_says_how_far_it_was(capsys):
  def broken():
    yield from range(4)
    raise OSError("disk")

  with pytest.raises(OSError, match="disk"):
    list(progress(broken(), total=9, description="clips"))
  assert capsys.readouterr().err.startswith("clips: 4/9 [")
