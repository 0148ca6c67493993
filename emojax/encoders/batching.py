"""Batches of sequences of similar length, in few compiled shapes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
  """Some sequences, and the shape to which they are filled up.

  Attributes:
    members: their indices.
    rows: sequences in the shape, at least as many as there are members.
    length: positions of each.
  """

  members: list[int]
  rows: int
  length: int


def by_length(
  lengths: Sequence[int], batch_size: int, max_positions: int
) -> list[Batch]:
  """Deals sequences into batches, so that little of a batch is padding.

  Args:
    lengths: of each sequence, at least 1.
    batch_size: how many run together; fewer where they are very long.
    max_positions: of a batch, padding included; it bounds the memory.

  Returns:
    Batches with the longest first: what is too large for the memory fails at
    once.
  """
  order = np.argsort(-np.asarray(lengths, np.int64), kind="stable").tolist()
  most_rows = min(batch_size, _power_of_two(len(order)))
  batches = []
  start = 0
  while start < len(order):
    length = _round_up(lengths[order[start]])
    rows = max(1, min(most_rows, max_positions // length))
    batches.append(Batch(order[start : start + rows], rows, length))
    start += rows
  return batches


def in_order(
  parts: Iterable[tuple[list[int], np.ndarray]], count: int, size: int
) -> np.ndarray:
  """Puts vectors that came with their indices in order: [count, size]."""
  result = np.zeros((count, size), np.float32)
  for rows, vectors in parts:
    result[rows] = vectors
  return result


def _round_up(length: int) -> int:
  """Rounds up to 8, 12, 16, 24, 32, 48, ...: few shapes, little padding."""
  power = max(8, _power_of_two(length))
  return power * 3 // 4 if 8 < length <= power * 3 // 4 else power


def _power_of_two(count: int) -> int:
  return 1 << max(count - 1, 0).bit_length()
