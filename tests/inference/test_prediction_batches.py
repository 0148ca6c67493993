"""Windows of any length in batches of few shapes."""

import numpy as np

from emojax.inference import recordings


def window(recording, length):
  return recordings.Window(recording, np.ones(length, np.int16))


def test_batches_have_few_shapes_and_lose_nothing():
  lengths = np.random.default_rng(0).integers(1, 101, 1_000).tolist()
  pieces = [window(i, length) for i, length in enumerate(lengths)]
  sizes = [25, 50, 75, 100]
  batches = list(recordings.in_batches(iter(pieces), sizes, 16))
  seen = sorted(p.recording for batch in batches for p in batch.windows)
  assert seen == list(range(1_000))
  for batch in batches:
    assert len(batch.windows) <= batch.rows
    assert max(len(p.samples) for p in batch.windows) <= batch.size
  assert len({(b.rows, b.size) for b in batches}) <= 5
  assert sum(len(batch.windows) < batch.rows for batch in batches) <= 1
  (only,) = recordings.in_batches([window(0, 30)], sizes, 16)
  assert (only.rows, only.size) == (1, 50)
  (only,) = recordings.in_batches([window(i, 30) for i in range(3)], sizes, 3)
  assert (only.rows, only.size) == (3, 50)
  assert not list(recordings.in_batches([], sizes, 16))


def test_windows_are_read_as_they_are_needed():
  taken = []

  def pieces():
    for i in range(100):
      taken.append(i)
      yield window(i, 90)

  next(recordings.in_batches(pieces(), [25, 50, 75, 100], 4))
  assert len(taken) == 4
