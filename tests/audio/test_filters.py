"""Filters and rooms against scipy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from emojax.audio import convolution, filters, rooms

RATE = 16_000
RNG = np.random.default_rng(0)
APPLY = jax.jit(filters.apply)
FREQUENCY = filters.frequencies(RATE)


def _noise(*shape):
  return RNG.normal(size=shape).astype(np.float32)


# One part and several, filters longer than the clip, blocks that end exactly.
@pytest.mark.parametrize(
  ("samples", "taps"), [(9_000, 2_049), (9_000, 4_097), (3_000, 9_000), (5, 3)]
)
def test_convolution_is_scipys(samples, taps):
  audio, filter_ = _noise(2, samples), _noise(2, taps)
  got = jax.jit(convolution.convolve)(audio, filter_)
  want = signal.fftconvolve(audio, filter_, axes=1)[:, :samples]
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_apply_is_firwin2_without_delay():
  audio = _noise(2, 6_000)
  audio[1, 5_000:] = 0
  gains = 1 + np.sin(FREQUENCY / 1000 + np.array([[0], [1]])) / 2
  got = APPLY(audio, np.array([6_000, 5_000]), jnp.asarray(gains))
  hann = ("general_hamming", 0.5)
  for row, of, gain in zip(got, audio, gains, strict=True):
    taps = signal.firwin2(
      2_049, FREQUENCY, gain, nfreqs=2**15 + 1, window=hann, fs=RATE
    )
    want = signal.fftconvolve(of, taps)[1_024:]
    np.testing.assert_allclose(row[:5_000], want[:5_000], atol=2e-3)
  assert not got[1, 5_000:].any()


def test_band_has_butterworths_gains():
  low, high = jnp.array([300.0, 50.0]), jnp.array([3_400.0, 7_000.0])
  got = jax.jit(functools.partial(filters.band, FREQUENCY))(low, high)
  for row, *edges in zip(got, low, high, strict=True):
    # An analogue filter: the digital one is warped near half the rate.
    want = np.ones(len(FREQUENCY))
    for kind, edge in zip(("high", "low"), edges, strict=True):
      b, a = signal.butter(4, 2 * np.pi * float(edge), kind, analog=True)
      want *= np.abs(signal.freqs(b, a, 2 * np.pi * FREQUENCY)[1])
    np.testing.assert_allclose(row, want, atol=1e-5)


def test_microphone_passes_through_its_octaves():
  decibels = RNG.uniform(-6, 6, (2, len(filters.OCTAVES))).astype(np.float32)
  got = jax.jit(functools.partial(filters.microphone, FREQUENCY))(
    jnp.asarray(decibels)
  )
  for row, of in zip(got, decibels, strict=True):
    octave = np.log2(np.maximum(FREQUENCY, 1))
    want = np.interp(octave, np.log2(filters.OCTAVES), of)
    np.testing.assert_allclose(20 * np.log10(row), want, atol=1e-3)


def test_masked_bands_are_silent_and_others_are_not():
  place, share = jnp.array([[0.5, 1.0]]), jnp.array([[0.1, 0.05]])
  audio = _noise(1, 16_000)
  gains = jax.jit(functools.partial(filters.mask, FREQUENCY))(place, share)
  got = APPLY(audio, np.array([16_000]), gains)
  _, before = signal.welch(audio[0], RATE, nperseg=2_048)
  frequency, after = signal.welch(got[0], RATE, nperseg=2_048)
  # Edges by O'Shaughnessy's scale, by hand: 45 % and 55 %, 95 % and 100 %.
  mels = 2595 * np.log10(1 + 8_000 / 700) * np.array([0.45, 0.55, 0.95, 1.0])
  edges = 700 * (10 ** (mels / 2595) - 1)
  hidden = np.zeros(len(frequency), bool)
  kept = np.ones(len(frequency), bool)
  for low, high in edges.reshape(2, 2):
    hidden |= (frequency > low + 40) & (frequency < high - 40)
    kept &= (frequency < low - 40) | (frequency > high + 40)
  assert (after[hidden] < 1e-4 * before[hidden]).all()
  np.testing.assert_allclose(after[kept][2:], before[kept][2:], rtol=0.02)


def test_room_is_a_convolution_that_is_cut_at_the_end():
  audio, response = _noise(2, 6_000), _noise(2, 900)
  audio[1, 4_000:] = 0
  lengths = np.array([6_000, 4_000])
  got = jax.jit(rooms.reverberate)(audio, lengths, response)
  want = signal.fftconvolve(audio, response, axes=1)[:, :6_000]
  want[1, 4_000:] = 0
  np.testing.assert_allclose(got, want, atol=1e-3)


def test_synthetic_rooms_have_what_is_asked_for():
  seconds, ratio = jnp.array([0.3, 0.6]), jnp.array([0.0, 9.0])
  keys = jax.random.split(jax.random.key(0), 2)
  synthesize = jax.jit(rooms.synthesize, static_argnums=(3, 4))
  responses = np.asarray(synthesize(keys, seconds, ratio, 16_000, RATE))
  np.testing.assert_allclose((responses**2).sum(1), 1, rtol=1e-5)
  direct, tail = responses[:, 0] ** 2, (responses[:, 1:] ** 2).sum(1)
  np.testing.assert_allclose(10 * np.log10(direct / tail), ratio, atol=1e-3)
  assert not responses[:, 1:40].any()
  for response, decay in zip(responses, seconds, strict=True):
    # Schroeder 1965, "New method of measuring reverberation time".
    left = 10 * np.log10(np.cumsum(response[:0:-1] ** 2)[::-1])
    first, last = (np.argmax(left < left[0] - drop) for drop in (5, 35))
    np.testing.assert_allclose(
      2 * (last - first) / RATE, float(decay), rtol=0.08
    )
