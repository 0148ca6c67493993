"""Gains over frequency: microphones, channels, and bands that are masked.

All are linear and of zero phase, so their gains are multiplied and applied in
one filter. In names: B clips, S samples, F frequencies, O octaves, M masks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from emojax.audio import convolution, waveforms

OCTAVES = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)  # In Hz.
_DELAY = 1024
# Zero at both ends, where the circular response closes.
_WINDOW = np.hanning(2 * _DELAY + 1).astype(np.float32)


def frequencies(sample_rate: int) -> np.ndarray:
  """Those, in Hz, at which `apply` takes gains: float32 [F]."""
  return np.fft.rfftfreq(2 * _DELAY, 1 / sample_rate).astype(np.float32)


def microphone(frequency_F: np.ndarray, decibels_BxO: jax.Array) -> jax.Array:
  """Gains of a microphone's response, given at `OCTAVES`: [B, F].

  The dB between are interpolated over the logarithm of the frequency; those
  outside are the nearest given.
  """
  octave_F = np.log2(np.clip(frequency_F, OCTAVES[0], OCTAVES[-1]))
  distance_OxF = octave_F[None] - np.log2(OCTAVES)[:, None]
  hats_OxF = np.maximum(1 - np.abs(distance_OxF), 0).astype(np.float32)
  decibels_BxF = jnp.matmul(
    decibels_BxO, hats_OxF, precision=jax.lax.Precision.HIGHEST
  )
  return waveforms.amplitude(decibels_BxF)


def band(
  frequency_F: np.ndarray, low_B: jax.Array, high_B: jax.Array
) -> jax.Array:
  """Gains of a channel that passes from `low_B` to `high_B` Hz: [B, F].

  Butterworth filters of the fourth order, 3 dB down at either edge, as steep as
  24 dB an octave.
  """
  frequency = frequency_F[None]
  below = (frequency / high_B[:, None]) ** 8
  above = (frequency / low_B[:, None]) ** 8
  return jax.lax.rsqrt(1 + below) * jnp.sqrt(above / (1 + above))


def mask(
  frequency_F: np.ndarray, place_BxM: jax.Array, share_BxM: jax.Array
) -> jax.Array:
  """Gains [B, F]: 0 within M bands (SpecAugment: Park et al. 2019, section 2).

  Where each band lies among all places it can have, and its width as a share
  of the mel scale (O'Shaughnessy's: 2595 log10(1 + f / 700)), are both 0 to 1.
  """
  mel_F = np.log1p(frequency_F / 700)
  share_F = (mel_F / mel_F[-1])[None, :, None]
  start = (place_BxM * (1 - share_BxM))[:, None]
  hidden = (share_F >= start) & (share_F < start + share_BxM[:, None])
  return jnp.where(hidden.any(axis=-1), 0.0, 1.0)


def apply(
  audio_BxS: jax.Array, lengths_B: jax.Array, gains_BxF: jax.Array
) -> jax.Array:
  """Filters each clip by gains at `frequencies`, without delay.

  By linear-phase filters of 2,049 taps after the window method (Oppenheim &
  Schafer 2010, section 7.5; `scipy.signal.firwin2`), with Hann's window.
  """
  taps = jnp.fft.irfft(gains_BxF.astype(jnp.complex64), 2 * _DELAY)
  taps = jnp.roll(taps, _DELAY, axis=1)
  taps = jnp.concatenate([taps, taps[:, :1]], axis=1) * _WINDOW[None]
  padded = jnp.pad(audio_BxS, ((0, 0), (0, _DELAY)))
  filtered = convolution.convolve(padded, taps)[:, _DELAY:]
  return waveforms.cut(filtered, lengths_B)
