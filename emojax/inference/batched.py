"""Examples of one shape through a compiled function, in bounded memory."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np


def outputs(
  function: Callable[[Any], Any],
  examples: Iterable[Any],
  rows: int,
  least: int = 1,
) -> Iterator[Any]:
  """Yields what a function makes of each example, in their order.

  Examples are trees of arrays; the function takes trees of arrays [B, ...] and
  gives such. B is `rows`, at last the next power of two if that is less, but
  not less than `least`; rows too many repeat an example.
  """
  running: collections.deque = collections.deque()
  for batch in _batches(examples, rows):
    size = min(rows, max(least, 1 << (len(batch) - 1).bit_length()))
    filled = batch + batch[:1] * (size - len(batch))
    found = function(jax.tree.map(lambda *values: np.stack(values), *filled))
    running.append((len(batch), found))
    # One batch late, so that the host reads while the device computes.
    if len(running) > 1:
      yield from _each(*running.popleft())
  for count, found in running:
    yield from _each(count, found)


def _batches(examples: Iterable[Any], rows: int) -> Iterator[list]:
  examples = iter(examples)
  while batch := list(itertools.islice(examples, rows)):
    yield batch


def _each(count: int, found: Any) -> Iterator[Any]:
  leaves, form = jax.tree.flatten(jax.device_get(found))
  for row in range(count):
    yield form.unflatten([values[row] for values in leaves])
