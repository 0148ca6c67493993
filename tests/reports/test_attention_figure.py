"""Weights and spectrogram share one time axis."""

import numpy as np
import pytest
from PIL import Image

from emojax.reports import attention


def tone(seconds: float, at: float, hertz: float = 1000) -> np.ndarray:
  """A tone of 0.2 s around `at`, in faint noise."""
  time = np.arange(int(16000 * seconds)) / 16000
  rng = np.random.default_rng(0)
  sounds = np.abs(time - at) < 0.1
  return np.where(sounds, np.sin(2 * np.pi * hertz * time), 0).astype(
    np.float32
  ) + 1e-3 * rng.normal(size=len(time)).astype(np.float32)


def clip(seconds: float, at: float, title: str) -> attention.Clip:
  centres_T = np.arange(0.0125, seconds - 0.0125, 0.02)
  weights_T = np.exp(-(((centres_T - at) / 0.05) ** 2)) + 1e-3
  return attention.Clip(
    tone(seconds, at), centres_T, weights_T / weights_T.sum(), title
  )


@pytest.mark.parametrize("count", [1, 5])
def test_weights_stand_above_their_sound(tmp_path, drawn, count):
  clips = [clip(1 + 0.5 * n, 0.3 + 0.3 * n, f"clip {n}") for n in range(count)]
  path = tmp_path / "attention.png"
  attention.attention_over_spectrogram(str(path), clips, "A study")
  with Image.open(path) as image:
    assert image.width > 500
  (figure,) = drawn
  axes = figure.get_axes()
  assert len(axes) == 2 * count
  for n, (curve, picture) in enumerate(zip(axes[::2], axes[1::2], strict=True)):
    assert curve.get_title() == f"clip {n}"
    assert curve.get_xlim() == picture.get_xlim() == (0, 1 + 0.5 * n)
    weights = curve.lines[-1]
    loudest_weight = weights.get_xdata()[weights.get_ydata().argmax()]
    (image,) = picture.images
    left, right, *_ = image.get_extent()
    power = image.get_array().max(axis=0)
    loud = np.flatnonzero(power > -10)
    middle = left + (right - left) * (loud.mean() + 0.5) / len(power)
    assert middle == pytest.approx(0.3 + 0.3 * n, abs=0.01)
    assert loudest_weight == pytest.approx(0.3 + 0.3 * n, abs=0.011)
    # Multiples of a plain mean: their mean is 1.
    assert np.mean(weights.get_ydata()) == pytest.approx(1)


@pytest.mark.parametrize("hertz", [500, 1000, 4000])
def test_a_tone_stands_at_its_frequency(tmp_path, drawn, hertz):
  one = clip(1.0, 0.5, "t")._replace(audio_S=tone(1.0, 0.5, hertz))
  attention.attention_over_spectrogram(str(tmp_path / "a.png"), [one], "t")
  picture = drawn[0].get_axes()[1]
  (image,) = picture.images
  decibels = image.get_array()
  *_, bottom, top = image.get_extent()
  row = decibels[:, decibels.shape[1] // 2].argmax()
  place = bottom + (top - bottom) * (row + 0.5) / len(decibels)
  ticks = dict(
    zip(
      [t.get_text() for t in picture.get_yticklabels()],
      picture.get_yticks(),
      strict=True,
    )
  )
  assert place == pytest.approx(ticks[f"{hertz / 1000:g}"], abs=1)


def test_a_clip_shorter_than_the_window(tmp_path):
  audio_S = np.ones(100, np.float32)
  one = attention.Clip(audio_S, np.array([0.003]), np.ones(1), "short")
  attention.attention_over_spectrogram(str(tmp_path / "a.png"), [one], "t")
  assert np.isfinite(attention.log_mel(np.zeros(100, np.float32))).all()
