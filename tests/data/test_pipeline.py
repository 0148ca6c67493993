"""Batches: every piece once an epoch, in few shapes, from any batch on."""

import gc
import shutil
import sys
import weakref

import grain
import jax
import numpy as np
import pytest
from grain._src.python.dataset.transformations import prefetch

from emojax.data import pipeline, windows
from emojax.errors import UserError
from emojax.runtime import sharding

SIZES = (40, 80, 160)


def source(count=23, seed=0):
  """Sequences of 10 to 159 samples that say which they are."""
  lengths = np.random.default_rng(seed).integers(10, 160, count)
  return [np.full(n, i + 1, np.int16) for i, n in enumerate(lengths)]


class Excerpts:
  def excerpt(self, rng, num_samples):
    return rng.integers(0, 100, num_samples).astype(np.int16)


def make(clips, noise=None, **changes):
  lengths = np.array([len(clip) for clip in clips])
  pieces = pipeline.cut(lengths, np.arange(len(clips)), SIZES[-1])
  fields = {"size": 4, "num_epochs": 3, "seed": (7,)} | changes
  plan = pipeline.Plan(
    pieces.lengths_P,
    SIZES,
    fields["size"],
    fields["num_epochs"],
    fields["seed"],
  )
  labels = {"label": pieces.row_P.astype(np.int32)}
  return plan, pipeline.Reader(clips, pieces, labels, noise, (7,))


def one_device():
  mesh = sharding.make_mesh(jax.device_count())
  return jax.sharding.NamedSharding(mesh, sharding.REPLICATED)


def on_host(batches):
  return [jax.tree.map(np.asarray, batch) for batch in batches]


def assert_same(some, others):
  assert len(some) == len(others)
  for one, other in zip(some, others, strict=True):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_every_piece_once_an_epoch_in_its_size():
  clips = source()
  plan, read = make(clips)
  assert (plan.steps_per_epoch, len(plan)) == (6, 18)
  orders = []
  for epoch in range(3):
    seen = []
    for step in range(6):
      batch = read(plan[6 * epoch + step])
      assert batch["inputs"].shape[1] in SIZES
      assert batch["inputs"].shape[1] >= batch["length"].max()
      for row, length, label, weight in zip(
        batch["inputs"],
        batch["length"],
        batch["label"],
        batch["weight"],
        strict=True,
      ):
        expected = np.zeros_like(row)
        expected[:length] = clips[label]
        np.testing.assert_array_equal(row, expected)
        if weight:
          seen.append(int(label))
    assert sorted(seen) == list(range(23))
    orders.append(tuple(seen))
  assert len(set(orders)) == 3


def test_little_of_a_batch_is_padding():
  plan, read = make(source(400), size=8)
  filled = total = 0
  for number in range(plan.steps_per_epoch):
    batch = read(plan[number])
    filled += batch["length"].sum()
    total += batch["inputs"].size
  assert filled / total > 0.65  # 0.53 if all had the longest size.


def test_evaluation_begins_with_the_longest():
  plan, _ = make(source(), num_epochs=1, seed=None)
  sizes = [plan[number].size for number in range(len(plan))]
  assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("start", [0, 4, 11])
def test_goes_on_from_any_batch(start):
  plan, read = make(source(), Excerpts())
  whole = on_host(pipeline.batches(plan, read, one_device()))
  rest = on_host(pipeline.batches(plan, read, one_device(), start))
  assert_same(whole[start:], rest)
  assert len(whole) == len(plan)


def test_nothing_of_the_last_batch_waits_for_the_garbage_collector():
  """One an evaluation stayed: gigabytes in a study of features."""
  plan, read = make(source())
  found = []
  gc.collect()
  gc.disable()
  try:
    for batch in pipeline.batches(plan, read, one_device()):
      found.append(weakref.ref(batch["inputs"]))
    del batch
    assert [one() for one in found] == [None] * len(plan)
  finally:
    gc.enable()


def test_another_seed_is_another_order_and_another_noise():
  one, two = make(source(), Excerpts()), make(source(), Excerpts(), seed=(8,))
  assert any(
    (one[0][i].piece_B != two[0][i].piece_B).any() for i in range(len(one[0]))
  )
  first, second = one[1](one[0][0]), one[1](one[0][1])
  shared = min(first["noise"].shape[1], second["noise"].shape[1])
  assert (first["noise"][:, :shared] != second["noise"][:, :shared]).any()


def test_windows_cover_a_long_clip():
  bounds = windows.cover(1000, 160)
  assert len(bounds) == 7
  np.testing.assert_array_equal(bounds[:, 1] - bounds[:, 0], 160)
  covered = np.zeros(1000, bool)
  for start, stop in bounds:
    covered[start:stop] = True
  assert covered.all()
  np.testing.assert_array_equal(windows.cover(160, 160), [[0, 160]])
  np.testing.assert_array_equal(windows.cover(7, 160), [[0, 7]])


def test_pieces_of_long_clips():
  pieces = pipeline.cut(np.array([50, 400, 160]), np.array([0, 1]), 160)
  np.testing.assert_array_equal(pieces.row_P, [0, 1, 1, 1])
  assert pieces.lengths_P.max() == 160


@pytest.mark.parametrize(
  ("free", "through_pipes"), [(0, True), (1 << 40, False)]
)
def test_workers_take_no_more_shared_memory_than_there_is(
  monkeypatch, caplog, free, through_pipes
):
  """Docker gives 64 MiB: a worker that writes beyond them is killed."""
  clips = [np.zeros(1 << 20, np.int16)] * 4
  pieces = pipeline.whole(np.full(4, 1 << 20))
  plan = pipeline.Plan(pieces.lengths_P, (1 << 20,), 4)
  usage = shutil._ntuple_diskusage(64 << 20, 0, free)
  monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage)
  dataset = grain.MapDataset.source(plan).to_iter_dataset()
  reader = pipeline.Reader(clips, pieces, {})
  dataset = pipeline._in_workers(dataset, plan, reader, 2)
  options = prefetch.get_dataset_options(dataset)
  assert options.min_shm_size == (sys.maxsize if through_pipes else 0)
  # 4 x 2 MiB a batch, of which each worker has 9 and 10 are on their way.
  needs = "the batches of 2 workers need 224 MiB: they are sent through pipes"
  assert (needs in caplog.text) == through_pipes


@pytest.mark.parametrize(
  ("code", "why"),
  [
    (-7, "/dev/shm, "),
    (-9, "it was killed, perhaps for want of memory"),
    (1, "exit code 1"),
  ],
)
def test_the_death_of_a_worker_is_one_line(code, why):
  text = f"Worker process was terminated unexpectedly with exit code {code}. Se"
  with pytest.raises(UserError) as caught, pipeline._explained():
    raise RuntimeError(text)
  assert f"a worker that reads batches has ended: {why}" in str(caught.value)
  assert "lower config.data.num_workers" in str(caught.value)
