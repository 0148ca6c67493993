"""Samples that wait to be heard, never more than so many.

S samples.
"""

import collections
import threading
import time
from typing import NamedTuple

import numpy as np

from emojax.errors import UserError


class Waiting(NamedTuple):
  """All that has come in, float32 [S], and how many samples before it went."""

  lost: int
  samples_S: np.ndarray


class Backlog:
  """Between a thread that hears a source and one that classifies.

  Where the latter is too slow the oldest samples are lost, and counted.
  """

  def __init__(self, most: int, source: str, patience: float):
    """Room for `most` samples of a source, which has a name in errors.

    A source that gives nothing for `patience` seconds has failed.
    """
    self._most, self._size, self._lost = most, 0, 0
    self._source, self._patience = source, patience
    self._last = time.monotonic()
    self._blocks: collections.deque[np.ndarray] = collections.deque()
    self._changed = threading.Condition()
    self._is_open, self._error = True, None

  def push(self, samples_S: np.ndarray) -> None:
    """Adds what was heard; it is copied, and never waits.

    After the end nothing is added: a fast source would go on for ever.
    """
    with self._changed:
      if not self._is_open:
        return
      self._last = time.monotonic()
      self._blocks.append(np.array(samples_S[-self._most :], np.float32))
      self._lost += len(samples_S) - len(self._blocks[-1])
      self._size += len(self._blocks[-1])
      while self._size > self._most:
        oldest_S = self._blocks.popleft()
        self._size -= len(oldest_S)
        self._lost += len(oldest_S)
      self._changed.notify()

  def skip(self, count: int) -> None:
    """So many samples were lost before they came here."""
    with self._changed:
      self._lost += count

  def close(self, error: UserError | None = None) -> None:
    """The source has ended, or failed with an error, which `take` raises."""
    with self._changed:
      self._is_open, self._error = False, self._error or error
      self._changed.notify()

  def take(self, timeout: float) -> Waiting | None:
    """Everything that waits; nothing after `timeout` seconds; None at the end.

    Raises:
      UserError: the source has failed, and all before that was taken.
    """
    with self._changed:
      if not self._blocks and self._is_open:
        self._changed.wait(timeout)
      if not self._blocks and not self._is_open:
        if self._error is not None:
          raise self._error
        return None
      waited = time.monotonic() - self._last
      if not self._blocks and waited > self._patience:
        raise UserError(
          f"{self._source} gives nothing any more ({waited:.0f} s): is it "
          "still there?"
        )
      samples_S = np.concatenate([np.zeros(0, np.float32), *self._blocks])
      lost, self._lost, self._size = self._lost, 0, 0
      self._blocks.clear()
      return Waiting(lost, samples_S)
