"""Features on disk: as they were computed, whole or not there."""

import errno
import os
import pickle

import ml_dtypes
import numpy as np
import pytest

from emojax.data import feature_store
from emojax.errors import UserError

LENGTHS = [3, 1, 5, 2]


def sequences(dtype=np.float32):
  rng = np.random.default_rng(0)
  return [rng.normal(size=(n, 2, 4)).astype(dtype) for n in LENGTHS]


def backwards(values):
  return lambda: reversed(list(enumerate(values)))


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_each_sequence_as_it_was(tmp_path, dtype):
  values = sequences(dtype)
  store = feature_store.open_or_create(
    tmp_path / "a" / "store", LENGTHS, backwards(values)
  )
  assert len(store) == 4
  np.testing.assert_array_equal(store.lengths, LENGTHS)
  for copy in (store, pickle.loads(pickle.dumps(store))):
    for index, expected in enumerate(values):
      assert copy[index].dtype == dtype
      np.testing.assert_array_equal(copy[index], expected)
  assert [p.name for p in (tmp_path / "a").iterdir()] == ["store"]


def test_computed_once(tmp_path):
  values = sequences()
  feature_store.open_or_create(tmp_path / "store", LENGTHS, backwards(values))

  def again():
    raise AssertionError("computed twice")

  store = feature_store.open_or_create(tmp_path / "store", LENGTHS, again)
  np.testing.assert_array_equal(store[2], values[2])


def test_an_interruption_leaves_nothing(tmp_path):
  def interrupted():
    yield 0, sequences()[0]
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    feature_store.open_or_create(tmp_path / "store", LENGTHS, interrupted)
  assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "pwrite", full)
  with pytest.raises(UserError, match="no room on the disk"):
    feature_store.open_or_create(
      tmp_path / "store", LENGTHS, backwards(sequences())
    )
  monkeypatch.setattr(os, "pwrite", lambda *_: 1)
  with pytest.raises(UserError, match="no room on the disk"):
    feature_store.open_or_create(
      tmp_path / "store", LENGTHS, backwards(sequences())
    )
  assert not list(tmp_path.iterdir())


def test_the_first_of_two_processes_wins(tmp_path):
  values = sequences()

  def overtaken():
    feature_store.open_or_create(tmp_path / "store", LENGTHS, backwards(values))
    yield from enumerate(values)

  store = feature_store.open_or_create(tmp_path / "store", LENGTHS, overtaken)
  np.testing.assert_array_equal(store[0], values[0])
  assert [p.name for p in tmp_path.iterdir()] == ["store"]
