"""Whisper's log-mel spectrogram (Radford et al. 2023, section 2.2).

Equal to that of the published feature extractors, and differentiable.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from emojax import spectral
from emojax.audio.settings import SAMPLE_RATE
from emojax.encoders.whisper_config import HOP

_FFT = 400  # 25 ms.
_HALF = _FFT // 2
_RANGE = 8.0  # Below the loudest, in decimal logarithms of power: 80 dB.
# A multiple of the hop, so that frames keep their places.
_BEFORE = 2 * HOP
_PIECE = 3000  # Spectra that are computed at once of a long recording.


def log_mel(
  audio_BxS: jax.Array, num_mels: int, num_frames: int, mirrored: bool = True
) -> jax.Array:
  """The first `num_frames` spectra of clips: float32 [B, T, num_mels].

  Args:
    audio_BxS: full scale at 1, 16 kHz, zeros after the end of a clip.
    num_mels: bands, M.
    num_frames: T, one each `HOP` samples; silence follows what is shorter.
    mirrored: whether the end of the T * `HOP` samples is reflected as their
      beginning always is: so it is done with the whole 30 s of the published
      input. Else silence goes on, and the spectra of a clip do not depend on T.
  """
  size = num_frames * HOP
  audio_BxS = audio_BxS[:, :size]
  audio_BxS = jnp.pad(audio_BxS, ((0, 0), (0, size - audio_BxS.shape[1])))
  begin = audio_BxS[:, _HALF:0:-1]
  begin = jnp.pad(begin, ((0, 0), (_HALF - begin.shape[1], 0)))
  end = audio_BxS[:, -2 : -_HALF - 2 : -1] if mirrored else audio_BxS[:, :0]
  end = jnp.pad(end, ((0, 0), (0, _HALF - end.shape[1])))
  whole = jnp.concatenate([begin, audio_BxS, end], axis=1)
  return _compress(_log_power(whole, num_mels, num_frames), (1, 2))


def log_mel_of_recording(audio: np.ndarray, num_mels: int) -> np.ndarray:
  """All spectra of a recording [S] of any length: float32 [S // `HOP`, M].

  In pieces, so that memory is that of the spectra alone.
  """
  num_frames = len(audio) // HOP
  mirrored = np.pad(audio, _HALF, "reflect")
  parts = []
  for first in range(0, num_frames, _PIECE):
    piece = mirrored[first * HOP :][: _PIECE * HOP + _FFT]
    piece = np.pad(piece, (0, _PIECE * HOP + _FFT - len(piece)))
    spectra = _log_power_of_piece(piece[None], num_mels)
    parts.append(np.asarray(spectra[0, : num_frames - first]))
  return np.asarray(_compress(np.concatenate(parts), (0, 1)))


def _log_power(padded_BxP, num_mels, num_frames):
  """Of frames whose centres begin `_HALF` samples after the first."""
  padded_BxP = jnp.pad(padded_BxP, ((0, 0), (_BEFORE - _HALF, 0)))
  power = spectral.mel_power(padded_BxP, SAMPLE_RATE, _FFT, HOP, num_mels)
  first = _BEFORE // HOP
  power_BxTxM = power[:, first : first + num_frames]
  return jnp.log10(jnp.maximum(power_BxTxM, spectral.POWER_FLOOR))


@functools.partial(jax.jit, static_argnames="num_mels")
def _log_power_of_piece(padded_BxP, num_mels):
  return _log_power(padded_BxP, num_mels, _PIECE)


def _compress(log_power, axes):
  loudest = log_power.max(axes, keepdims=True)
  return (jnp.maximum(log_power, loudest - _RANGE) + 4) / 4
