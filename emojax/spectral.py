"""Short-time spectra with librosa's conventions, as pure functions.

Frames are centred: frame t looks at the `fft` samples around sample `t * hop`
through a periodic Hann window, with zeros before and after the signal
(librosa's `pad_mode="constant"`). In names: B clips, S samples, T frames,
F = fft // 2 + 1 frequencies, M mel bands.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from emojax.runtime import sharding

POWER_FLOOR = 1e-10  # librosa's `amin`: -100 dB.


def num_frames(num_samples, hop: int):
  """Frames of a signal of so many samples; an int or an array of them."""
  return 1 + num_samples // hop


def stft(audio_BxS: jax.Array, fft: int, hop: int) -> jax.Array:
  """Short-time Fourier transform: complex64 [B, T, F].

  Frames are `fft` samples long (even), `hop` (at most `fft // 2`) apart.
  """
  size, num_samples = audio_BxS.shape
  frames = num_frames(num_samples, hop)
  overlap = -(-fft // hop)  # Blocks of `hop` samples that a frame touches.
  before = fft // 2
  after = (frames - 1 + overlap) * hop - before - num_samples
  padded = jnp.pad(audio_BxS, ((0, 0), (before, max(after, 0))))
  padded = padded[:, : (frames - 1 + overlap) * hop]
  blocks = padded.reshape(size, -1, hop)
  frames_BxTxW = jnp.concatenate(
    [blocks[:, first : first + frames] for first in range(overlap)], axis=-1
  )[..., :fft]
  frames_BxTxW *= window(fft)[None, None]
  return sharding.by_rows(jnp.fft.rfft, (frames_BxTxW,))


def istft(
  spectrum_BxTxF: jax.Array,
  hop: int,
  num_samples: int,
  frames_B: jax.Array | None = None,
) -> jax.Array:
  """The signal whose `stft` is nearest in the least squares: [B, S] float32.

  Source: Griffin & Lim 1984, "Signal estimation from modified short-time
  Fourier transform", Eq. (6). Of each clip `frames_B` frames count; None: all.
  """
  _, num_spectra, num_bins = spectrum_BxTxF.shape
  fft = 2 * (num_bins - 1)
  window_W = window(fft)
  frames = jnp.fft.irfft(spectrum_BxTxF, fft) * window_W[None, None]
  weights = jnp.broadcast_to(jnp.square(window_W), (1, num_spectra, fft))
  if frames_B is not None:
    exists = jnp.arange(num_spectra)[None, :, None] < frames_B[:, None, None]
    frames = jnp.where(exists, frames, 0)
    weights = exists * weights
  audio, weight = (_overlap_add(x, hop) for x in (frames, weights))
  tiny = jnp.finfo(jnp.float32).tiny
  audio = audio / jnp.where(weight > tiny, weight, 1)
  audio = audio[:, fft // 2 : fft // 2 + num_samples]
  return jnp.pad(audio, ((0, 0), (0, num_samples - audio.shape[1])))


def log_mel(
  audio_BxS: jax.Array, sample_rate: int, fft: int, hop: int, num_mels: int
) -> jax.Array:
  """Natural logarithm of `mel_power`: float32 [B, T, M].

  Powers below 1e-10 count as 1e-10.
  """
  power = mel_power(audio_BxS, sample_rate, fft, hop, num_mels)
  return jnp.log(jnp.maximum(power, POWER_FLOOR))


def mel_power(
  audio_BxS: jax.Array, sample_rate: int, fft: int, hop: int, num_mels: int
) -> jax.Array:
  """The power in mel bands: float32 [B, T, M].

  The bands are Slaney's (Auditory Toolbox, 1998), librosa's default: triangles
  of equal area from 0 Hz to half the sample rate.
  """
  spectrum = stft(audio_BxS, fft, hop)
  power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
  mels_FxM = mel_filters(sample_rate, fft, num_mels)
  return jnp.matmul(power, mels_FxM, precision=jax.lax.Precision.HIGHEST)


def _overlap_add(frames_BxTxW, hop):
  """Adds frames up, each `hop` samples after the one before."""
  size, num, width = frames_BxTxW.shape
  overlap = -(-width // hop)
  padded = jnp.pad(frames_BxTxW, ((0, 0), (0, 0), (0, overlap * hop - width)))
  blocks = padded.reshape(size, num, overlap, hop)
  shifted = [
    jnp.pad(blocks[:, :, k], ((0, 0), (k, overlap - 1 - k), (0, 0)))
    for k in range(overlap)
  ]
  return sum(shifted[1:], shifted[0]).reshape(size, -1)


def window(fft: int) -> np.ndarray:
  """Hann's, periodic: float32 [fft]."""
  # Not scipy's: its import would double the time that prediction starts in.
  angle = 2 * np.pi * np.arange(fft) / fft
  return (0.5 - 0.5 * np.cos(angle)).astype(np.float32)


@functools.cache
def mel_filters(sample_rate: int, fft: int, num_mels: int) -> np.ndarray:
  """The bands of `mel_power`: float32 [F, M].

  To the bit those of `librosa.filters.mel`, which takes seconds to import.
  """
  top = mels(np.array(sample_rate / 2))
  edge_E = _hertz(np.linspace(0, top, num_mels + 2))
  distance_ExF = edge_E[:, None] - np.fft.rfftfreq(fft, 1 / sample_rate)
  width = np.diff(edge_E)[:, None]
  rise = -distance_ExF[:-2] / width[:-1]
  fall = distance_ExF[2:] / width[1:]
  filters_MxF = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
  filters_MxF *= (2 / (edge_E[2:] - edge_E[:-2]))[:, None]
  return np.ascontiguousarray(filters_MxF.T)


# Slaney's mels: linear up to 1 kHz, 15 of them; then 27 to a factor of 6.4.
_LINEAR, _BREAK, _STEP = 200 / 3, 15.0, np.log(6.4) / 27


def mels(hertz: np.ndarray) -> np.ndarray:
  """Where frequencies, in Hz, lie on that scale."""
  above = _BREAK + np.log(np.maximum(hertz, 1000) / 1000) / _STEP
  return np.where(hertz < 1000, hertz / _LINEAR, above)


def _hertz(mels: np.ndarray) -> np.ndarray:
  above = 1000 * np.exp(_STEP * (np.maximum(mels, _BREAK) - _BREAK))
  return np.where(mels < _BREAK, _LINEAR * mels, above)
