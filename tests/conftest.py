"""What all tests share: strict numerics, real data, an isolated cache."""

import os
import pathlib

import jax
import pytest

# Shapes that broadcast by accident are a defect.
jax.config.update("jax_numpy_rank_promotion", "raise")

_ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def real_data() -> pathlib.Path:
  """The folder of small real corpora, from `EMOJAX_TEST_DATA`."""
  folder = pathlib.Path(
    os.environ.get("EMOJAX_TEST_DATA", _ROOT.parent / "shared" / "data")
  )
  if not (folder / "ravdess").is_dir():
    pytest.skip(f"no real data in {folder}: set EMOJAX_TEST_DATA")
  return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
  """An empty user cache for this test and the processes that it starts."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  return tmp_path / "cache" / "emojax"
