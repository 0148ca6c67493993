"""Batches of sequences of similar length, in few compiled shapes."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from emojax.runtime.progress import progress


class Batch(NamedTuple):
  """The indices of some sequences, and the shape to which they are filled."""

  chosen: list[int]
  rows: int
  length: int


def vectors(
  lengths: Sequence[int],
  size: int,
  batch_size: int,
  max_positions: int,
  encode: Callable[[Batch], np.ndarray],
  description: str,
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Yields the vectors of some sequences at a time, the longest first.

  Args:
    lengths: of each sequence; those of length 0 come first, with zeros.
    size: values of a vector, D.
    batch_size, max_positions: see `by_length`.
    encode: gives a batch's vectors [rows, D].
    description: stands before the progress bar.

  Yields:
    Indices of n sequences, and their vectors: float32 [n, D].
  """
  empty = [row for row, length in enumerate(lengths) if not length]
  if empty:
    yield empty, np.zeros((len(empty), size), np.float32)
  batches = by_length(lengths, batch_size, max_positions)
  for batch in progress(batches, None, description, "batch"):
    yield batch.chosen, np.asarray(encode(batch))[: len(batch.chosen)]


def by_length(
  lengths: Sequence[int], batch_size: int, max_positions: int
) -> list[Batch]:
  """Deals sequences into batches, so that little of a batch is padding.

  The longest come first: what is too large for the memory fails at once. Those
  of length 0 are left out. A batch has `batch_size` sequences, or fewer where
  they would have more than `max_positions`, padding included.
  """
  order = np.argsort(-np.asarray(lengths, np.int64), kind="stable").tolist()
  order = order[: np.count_nonzero(lengths)]
  most_rows = min(batch_size, _power_of_two(len(order)))
  batches = []
  start = 0
  while start < len(order):
    length = _round_up(lengths[order[start]])
    rows = max(1, min(most_rows, max_positions // length))
    batches.append(Batch(order[start : start + rows], rows, length))
    start += rows
  return batches


def _round_up(length: int) -> int:
  """Rounds up to 8, 12, 16, 24, 32, 48, ...: few shapes, little padding."""
  power = max(8, _power_of_two(length))
  return power * 3 // 4 if 8 < length <= power * 3 // 4 else power


def _power_of_two(count: int) -> int:
  return 1 << max(count - 1, 0).bit_length()
