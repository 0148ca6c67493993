"""The phase vocoder against librosa's."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from emojax.audio import vocoder
from emojax.kernels import target

RATE = 16_000
# Compiled as a whole: op by op it takes longer.
stretch_and_shift = jax.jit(
  vocoder.stretch_and_shift, static_argnames="max_semitones"
)


def _glide(num_samples):
  """A voice to a vocoder: harmonics with a moving pitch, and some noise.

  Without the noise, bins between the harmonics would hold rounding errors
  alone, of which float32 and float64 have different ones.
  """
  noise = 3e-3 * np.random.default_rng(0).normal(size=num_samples)
  time = np.arange(num_samples) / RATE
  phase = 2 * np.pi * (150 * time + 20 * np.sin(2 * np.pi * time))
  return sum(np.sin(k * phase) / k for k in range(1, 12)) / 4 + noise


def _batch(*lengths):
  audio = np.zeros((len(lengths), max(lengths)), np.float32)
  for row, length in zip(audio, lengths, strict=True):
    row[:length] = _glide(length)
  return audio, np.array(lengths, np.int32)


def test_time_stretch_is_librosas_cut_at_the_size_of_the_batch():
  audio, lengths = _batch(12_000, 9_000, 12_000)
  rates = np.array([1.1317, 0.8171, 0.7131], np.float32)
  got, new = stretch_and_shift(audio, lengths, rates)
  for row, rate, count, of, total in zip(
    got, rates, lengths, audio, new, strict=True
  ):
    # In float32 librosa's sums of angles are off by hundredths.
    want = librosa.effects.time_stretch(
      of[:count].astype(np.float64), rate=float(rate)
    )[:12_000]
    assert total == len(want)
    np.testing.assert_allclose(row[:total], want, atol=3e-5)
    assert not row[total:].any()


@pytest.mark.parametrize("semitones", [-4.0, 2.5, 4.0])
def test_pitch_shift_is_librosas(semitones):
  audio, lengths = _batch(16_000, 12_000)
  got, new = stretch_and_shift(
    audio, lengths, jnp.ones(2), jnp.array([semitones, 0.0]), max_semitones=4.0
  )
  assert new.tolist() == [16_000, 12_000]
  want = librosa.effects.pitch_shift(
    audio[0].astype(np.float64), sr=RATE, n_steps=semitones
  )
  # librosa's resampler has a steeper edge; its vocoder is the same.
  error = got[0] - want
  assert np.linalg.norm(error) < 0.01 * np.linalg.norm(want)
  np.testing.assert_allclose(got[1], audio[1], atol=1e-5)


def test_phases_of_all_positions_at_once_are_those_in_order(monkeypatch):
  """As a GPU has them; silence and different lengths among it."""
  audio, lengths = _batch(16_000, 9_000, 12_000, 16_000)
  audio[0, 4_000:8_000] = audio[3] = 0
  operands = (
    *(audio, lengths, np.array([0.8, 1.2, 1.0, 0.9], np.float32)),
    np.array([2.0, -3.0, 0.0, 1.0], np.float32),
  )
  want, want_lengths = stretch_and_shift(*operands, max_semitones=4.0)
  monkeypatch.setattr(target, "platform", lambda: "gpu")
  program = jax.jit(
    lambda *operands: vocoder.stretch_and_shift(*operands, max_semitones=4.0)
  )
  got, got_lengths = program(*operands)
  np.testing.assert_array_equal(got_lengths, want_lengths)
  np.testing.assert_allclose(got, want, atol=1e-5)
  traced = program.trace(*operands)
  text = traced.lower(lowering_platforms=("cuda",)).as_text()
  assert "stablehlo.while" not in text and "stablehlo.case" not in text


def test_pitch_of_a_tone():
  time = np.arange(16_000) / RATE
  audio = np.sin(2 * np.pi * 440 * time).astype(np.float32)[None]
  got, _ = stretch_and_shift(
    audio, np.array([16_000]), jnp.ones(1), jnp.array([3.0]), max_semitones=4.0
  )
  window = np.hanning(8_000)
  spectrum = np.abs(np.fft.rfft(np.array(got[0, 4_000:12_000]) * window, 2**17))
  found = spectrum.argmax() * RATE / 2**17
  np.testing.assert_allclose(found, 440 * 2 ** (3 / 12), rtol=3e-4)
  # No images of the resampling; nearby are the vocoder's own side lines.
  away = np.abs(np.arange(len(spectrum)) * RATE / 2**17 - found) > 500
  assert spectrum[away].max() < 1e-3 * spectrum.max()


def test_padding_and_batch_mates_change_nothing():
  audio, lengths = _batch(9_000, 8_000)
  rate, semitones = jnp.array([0.913, 1.0]), jnp.array([2.0, -3.0])
  both, _ = stretch_and_shift(
    audio, lengths, rate, semitones, max_semitones=4.0
  )
  alone, _ = stretch_and_shift(
    np.pad(audio[1:], ((0, 0), (0, 4_000))),
    lengths[1:],
    rate[1:],
    semitones[1:],
    max_semitones=4.0,
  )
  np.testing.assert_allclose(both[1], alone[0, :9_000], atol=1e-5)
  assert not alone[0, 8_000:].any()


def test_positions_are_exact_after_a_minute():
  step = np.float32(2 * 2 ** (3.7 / 12))
  positions = jax.jit(vocoder._positions, static_argnums=1)
  index, fraction = positions(jnp.array([step]), 960_000)
  want = np.arange(960_000) * np.float64(step)
  got = np.asarray(index[0], np.float64) + np.asarray(fraction[0])
  np.testing.assert_allclose(got, want, atol=2e-3)
  assert (fraction >= 0).all() and (fraction < 1).all()
