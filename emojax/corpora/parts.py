"""Parts that a release does not draw, and the paper says only the size of."""

import math

import numpy as np

# Everybody who runs the study gets the same parts.
_SEED = 0


def draw(count: int, *shares: float) -> list[np.ndarray]:
  """Draws disjoint parts at random, always the same.

  A part has its share of `count`, rounded up: so the sizes of Li & Xu (2020,
  section 4.1) come out, 2,455 of 12,271 and twice 9,180 of 91,793.

  Returns:
    Sorted indices int64 of each part, all of them below `count`.
  """
  sizes = [math.ceil(share * count) for share in shares]
  order = np.random.default_rng(_SEED).permutation(count)
  drawn = np.split(order, np.cumsum(sizes))[:-1]
  return [np.sort(rows) for rows in drawn]
