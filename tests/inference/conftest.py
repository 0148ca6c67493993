"""A run that can listen, and speech for it."""

import pathlib

import jax
import numpy as np
import pytest
import soundfile

from emojax.encoders.log_mel import LogMel
from emojax.inference import listener as listeners
from emojax.systems import speech, stored

RATE = 16_000


def _make_run(folder: pathlib.Path, **changes) -> pathlib.Path:
  """A finished run with random weights, calibrated, as training leaves it."""
  fields = {
    "classes": ("angry", "neutral", "sad"),
    "window_seconds": 2.0,
    "pooling": "attention",
    "weigh_layers": False,
    "averaged_frames": 1,
    "hidden": 8,
    "dropout": 0.3,
    "temperature": 0.02,
    "threshold": 0.4,
    "level_db": -23.0,
    **changes,
  }
  system = speech.SpeechSystem(LogMel((4,)), **fields)
  model, inputs = system.model(), (np.zeros((1, RATE)), np.array([RATE]))
  params = jax.jit(model.init)(jax.random.key(1), *inputs)["params"]
  # Scores of the attention begin at zero: here they are to say something.
  params["pool"]["score"]["kernel"] += np.linspace(-1, 1, 4)[:, None]
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, params).items():
    write(folder / name)
  (folder / "summary.json").touch()
  return folder


@pytest.fixture(scope="session")
def make_run():
  """`_make_run`, for other descriptions."""
  return _make_run


@pytest.fixture(scope="session")
def listening_run(tmp_path_factory) -> pathlib.Path:
  return _make_run(tmp_path_factory.mktemp("listening") / "run")


@pytest.fixture(scope="session")
def listener(listening_run) -> listeners.Listener:
  return listeners.load(listening_run)


@pytest.fixture
def talk(real_data) -> np.ndarray:
  """Two actors one after the other, 7 s of float32 at 16 kHz."""
  clips = sorted((real_data / "ravdess").rglob("*.*g"))
  chosen = [soundfile.read(clips[n], dtype="float32") for n in (0, -1)]
  assert all(rate == RATE for _, rate in chosen)
  return np.concatenate([samples for samples, _ in chosen])[: 7 * RATE]
