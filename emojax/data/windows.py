"""Long recordings in windows of one size that cover all of it."""

import numpy as np


def cover(num_samples: int, size: int) -> np.ndarray:
  """Places the fewest windows of `size` that cover a recording, evenly.

  They overlap where the length is no multiple of the size; a recording no
  longer than a window is one, of its own length.

  Returns:
    int64 [W, 2], the first sample of each window and the one after its last.
  """
  if num_samples <= size:
    return np.array([[0, num_samples]])
  count = -(-num_samples // size)
  starts = np.linspace(0, num_samples - size, count).astype(np.int64)
  return np.stack([starts, starts + size], axis=1)
