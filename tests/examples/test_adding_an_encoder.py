"""`docs/adding.md`, "An encoder": one that a config file registers."""

import importlib.util
import pathlib

import numpy as np
import pytest
import soundfile

from emojax import encoders
from emojax.inference import predict
from emojax.summary import read_arrays
from emojax.systems import stored
from emojax.trainers import speech

RATE = 16_000
FILE = pathlib.Path(__file__).with_name("tiny_encoder.py")


@pytest.fixture
def config(cache, tmp_path):
  """As a command gets it; with a manifest of tones of four speakers."""
  spec = importlib.util.spec_from_file_location("tiny_encoder", FILE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  lines = ["path,label,speaker"]
  rng = np.random.default_rng(0)
  time_S = np.arange(int(0.3 * RATE)) / RATE
  for speaker in ("anna", "ben", "cleo", "dan"):
    for number in range(4):
      emotion, pitch = (("angry", 900), ("sad", 250))[number % 2]
      tone = 0.3 * np.sin(2 * np.pi * pitch * time_S)
      noise = 0.01 * rng.normal(size=len(time_S))
      name = f"{speaker}_{number}.wav"
      soundfile.write(tmp_path / name, tone + noise, RATE)
      lines.append(f"{name},{emotion},{speaker}")
  path = tmp_path / "clips.csv"
  path.write_text("\n".join(lines), encoding="utf-8")
  config = module.get_config()
  config.data.corpus, config.data.path = "manifest", str(path)
  config.data.labels = "angry,sad"
  config.data.buckets = (0.4,)
  return config


def test_it_is_trained_for_two_epochs_and_predicts(config, tmp_path):
  assert "tiny" in encoders.names()
  run = tmp_path / "run"
  summary = speech.train(config, run)
  (row,) = summary.rows
  assert (row.setting, row.system) == ("unseen speakers", "tiny")
  assert summary.label("tiny") == "tiny encoder"
  history = read_arrays(run / "history.npz")
  assert history[f"unseen speakers/tiny/{summary.curve}"].shape == (1, 2)
  system, params = stored.load(run)
  assert system.encoder.kind == "tiny"
  assert params["encoder"]["Conv_0"]["kernel"].shape == (320, 1, 16)
  found = predict.load(run).predict([str(tmp_path / "anna_0.wav")])
  assert found.classes == ("angry", "sad")


def test_a_clip_that_is_too_short_for_it_is_skipped(config, tmp_path, caplog):
  soundfile.write(tmp_path / "ben_0.wav", 0.1 * np.sin(np.arange(300)), RATE)
  speech.audit(config)
  assert "ben_0.wav: 19 ms long, less than the 20 ms of one frame" in (
    caplog.text
  )
