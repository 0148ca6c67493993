"""Trees of arrays in files."""

import numpy as np

from emojax.runtime import tensors


def test_weights_are_for_whom_all_files_are_for(tmp_path):
  """A run in a shared folder: others than who trained it predict with it."""
  tree = {"a": {"b": np.arange(3.0)}, "c": np.ones((2, 3), np.float32).T}
  other, path = tmp_path / "other", tmp_path / "weights.safetensors"
  other.touch()
  tensors.save(path, tree)
  assert path.stat().st_mode == other.stat().st_mode
  np.testing.assert_equal(tensors.load(path), tree)
