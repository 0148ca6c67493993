"""Samples that wait: bounded, in order, with an end."""

import numpy as np
import pytest

from emojax.errors import UserError
from emojax.inference.backlog import Backlog


def test_everything_comes_in_order():
  backlog = Backlog(100, "it", 60)
  for start in (0, 10, 20):
    backlog.push(np.arange(start, start + 10))
  lost, samples = backlog.take(0)
  assert lost == 0
  np.testing.assert_array_equal(samples, np.arange(30))
  assert len(backlog.take(0.01).samples_S) == 0


def test_the_oldest_are_lost_and_counted():
  backlog = Backlog(100, "it", 60)
  for start in range(0, 250, 50):
    backlog.push(np.arange(start, start + 50))
  lost, samples = backlog.take(0)
  assert lost == 150
  np.testing.assert_array_equal(samples, np.arange(150, 250))
  # A block that has no room at all.
  backlog.push(np.arange(130))
  lost, samples = backlog.take(0)
  assert (lost, len(samples), samples[-1]) == (30, 100, 129)
  assert backlog.take(0.01).lost == 0


def test_it_ends_after_what_was_heard():
  backlog = Backlog(100, "it", 60)
  backlog.push(np.ones(5))
  backlog.close(UserError("gone"))
  assert len(backlog.take(0).samples_S) == 5
  with pytest.raises(UserError, match="gone"):
    backlog.take(0)
  backlog = Backlog(100, "it", 60)
  backlog.close()
  backlog.push(np.ones(5))  # By a source that does not know.
  assert backlog.take(0) is None


def test_what_is_pushed_may_change_afterwards():
  backlog, block = Backlog(10, "it", 60), np.ones(3)
  backlog.push(block)
  block[:] = 0
  assert backlog.take(0).samples_S.sum() == 3


def test_a_source_that_gives_nothing_has_failed():
  backlog = Backlog(100, "the pipe", 0.2)
  backlog.push(np.ones(5))
  backlog.take(0)
  assert len(backlog.take(0.05).samples_S) == 0
  with pytest.raises(UserError, match="the pipe gives nothing any more"):
    while True:
      backlog.take(0.05)
