"""Changes of samples against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.audio import waveforms

RNG = np.random.default_rng(0)
LENGTHS = np.array([100, 60, 0], np.int32)
AUDIO = np.asarray(
  waveforms.cut(RNG.normal(size=(3, 100)).astype(np.float32), LENGTHS)
)


def test_gain():
  got = jax.jit(waveforms.gain)(AUDIO, jnp.array([6.0, -20.0, 0.0]))
  np.testing.assert_allclose(got[0], AUDIO[0] * 10**0.3, rtol=1e-6)
  np.testing.assert_allclose(got[1], AUDIO[1] / 10, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_noise_has_the_ratio_over_the_valid_samples(kind):
  noise = (1000 * RNG.normal(size=(3, 100))).astype(kind)
  ratio = np.array([5.0, 20.0, 0.0], np.float32)
  add_noise = jax.jit(waveforms.add_noise)
  got = np.asarray(add_noise(AUDIO, LENGTHS, noise, ratio))
  for row in range(2):
    valid = slice(LENGTHS[row])
    added = (got - AUDIO)[row, valid]
    snr = 10 * np.log10((AUDIO[row, valid] ** 2).mean() / (added**2).mean())
    np.testing.assert_allclose(snr, ratio[row], atol=1e-3)
    assert np.corrcoef(added, noise[row, valid])[0, 1] > 0.9999
  assert not got[1, 60:].any()
  assert not got[2].any()
  silent = add_noise(AUDIO, LENGTHS, 0 * noise, ratio)
  np.testing.assert_array_equal(silent, AUDIO)


@pytest.mark.parametrize("by", [-100, -7, 0, 7, 100])
def test_shift(by):
  samples = np.full(3, by, np.int32)
  got, lengths = jax.jit(waveforms.shift)(AUDIO, LENGTHS, samples)
  for row in range(3):
    clip = AUDIO[row, : LENGTHS[row]]
    want = np.r_[np.zeros(max(by, 0)), clip[max(-by, 0) :]][:100]
    assert lengths[row] == len(want)
    np.testing.assert_array_equal(got[row, : len(want)], want)
    assert not got[row, len(want) :].any()


def test_crop():
  place, share = jnp.array([1.0, 0.5, 0.0]), jnp.array([0.4, 0.1, 0.5])
  got, lengths = jax.jit(waveforms.crop)(AUDIO, LENGTHS, place, share)
  assert lengths.tolist() == [40, 6, 0]
  np.testing.assert_array_equal(got[0, :40], AUDIO[0, 60:])
  np.testing.assert_array_equal(got[1, :6], AUDIO[1, 27:33])
  assert not got[0, 40:].any() and not got[1, 6:].any()


def test_time_masks():
  place = jnp.array([[0.0, 1.0]] * 3)
  share = jnp.array([[0.1, 0.2]] * 3)
  mask_time = jax.jit(waveforms.mask_time)
  got = np.asarray(mask_time(AUDIO, LENGTHS, place, share))
  assert not got[0, :10].any() and not got[0, 80:].any()
  np.testing.assert_array_equal(got[0, 10:80], AUDIO[0, 10:80])
  assert not got[1, :6].any() and not got[1, 48:].any()
  np.testing.assert_array_equal(got[1, 6:48], AUDIO[1, 6:48])
