"""Sides of a comparison have processes of their own, and take turns."""

import os
import time

import numpy as np
import pytest

from experiments.benchmarks import measure


class Side:
  """Remembers what it was asked."""

  def __init__(self, first):
    self._seen = [first]

  def see(self, value):
    self._seen.append(value)
    return self._seen

  def sleep(self, seconds):
    time.sleep(seconds)
    return lambda: "what no pipe takes"

  def where(self):
    return os.getpid(), len(os.sched_getaffinity(0))


def test_a_side_is_a_process_of_its_own():
  sides = [measure.Process(Side, "a"), measure.Process(Side, "b", cores=1)]
  for side, first in zip(sides, "ab", strict=True):
    assert side.result("see", 1) == [first, 1]
    array = side.result("see", np.ones(3))[-1]
    np.testing.assert_array_equal(array, np.ones(3))
    assert 0.05 <= side.seconds("sleep", 0.05) < 5
  places = [side.result("where") for side in sides]
  assert len({os.getpid(), *(place for place, _ in places)}) == 3
  assert places[1][1] == 1
  for side in sides:
    side.close()


def test_a_side_that_fails_is_no_number(capfd):
  side = measure.Process(Side, "a")
  with pytest.raises(EOFError):
    side.seconds("see")
  assert "missing 1 required positional argument" in capfd.readouterr().err


def test_a_function_alone():
  assert measure.alone(os.getpid) != os.getpid()
  assert measure.alone(measure.memory, "VmHWM") > 10e6
