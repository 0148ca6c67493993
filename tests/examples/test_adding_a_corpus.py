"""`docs/adding.md`, "A corpus": a reader that a config file registers."""

import importlib.util
import pathlib

import numpy as np
import pytest
import soundfile

from emojax import summary
from emojax.errors import UserError
from emojax.reports import speech as reports
from emojax.trainers import speech

RATE = 16_000
FILE = pathlib.Path(__file__).with_name("tiny_corpus.py")


@pytest.fixture
def config(cache, tmp_path):
  """As a command gets it; with the clips of four speakers."""
  spec = importlib.util.spec_from_file_location("tiny_corpus", FILE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config()
  config.data.path = str(tmp_path / "clips")
  return config


@pytest.fixture
def clips(tmp_path):
  """Tones whose pitch is the emotion, in noise."""
  folder = tmp_path / "clips"
  folder.mkdir()
  rng = np.random.default_rng(0)
  time_S = np.arange(int(0.3 * RATE)) / RATE
  for speaker in ("anna", "ben", "cleo", "dan"):
    for number in range(6):
      emotion, pitch = (("angry", 900), ("sad", 250))[number % 2]
      tone = 0.3 * np.sin(2 * np.pi * pitch * time_S)
      noise = 0.01 * rng.normal(size=len(time_S))
      name = f"{speaker}_{emotion}_{number}.wav"
      soundfile.write(folder / name, tone + noise, RATE)
  return folder


def test_it_is_trained_for_two_epochs(config, clips, tmp_path, monkeypatch):
  monkeypatch.setattr(reports, "files", lambda *_: {})  # Of any corpus.
  made = speech.train(config, tmp_path / "run")
  assert made == summary.read(tmp_path / "run")
  assert [(row.setting, row.system) for row in made.rows] == [
    ("unseen speakers", "log_mel")
  ]
  (row,) = made.rows
  assert row.metrics["weighted_accuracy"].runs
  (table,) = speech.audit(config).values()
  assert "anna" in table


def test_its_errors_are_those_of_all_corpora(config, tmp_path):
  with pytest.raises(UserError, match=r"no such .*expected SPEAKER_.*yourself"):
    speech.audit(config)
  config.data.corpus = "tinny"
  with pytest.raises(UserError, match=r"config\.data\.corpus .* tess, tiny"):
    speech.audit(config)
