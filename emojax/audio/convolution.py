"""Convolution of clips with long filters, one for each."""

import jax
import jax.numpy as jnp

# One size of transform: on CPUs many of this size take a quarter of the time
# for each sample that one over the whole clip does.
_FFT = 8192
_PART = _FFT // 2


def convolve(audio_BxS: jax.Array, taps_BxR: jax.Array) -> jax.Array:
  """The first S samples of the convolution of each clip with its filter.

  By overlap-save (Oppenheim & Schafer 2010, "Discrete-Time Signal Processing",
  section 8.7.3). A filter longer than half a transform is cut into parts, each
  delayed by one block more than the one before (Kulp 1988, "Digital
  equalization using Fourier transform techniques"). All are float32.
  """
  size, num_samples = audio_BxS.shape
  num_taps = taps_BxR.shape[1]
  num_parts = -(-num_taps // _PART)
  # Samples of a block that nothing wraps into: more, if the filter is short.
  step = _FFT - num_taps + 1 if num_parts == 1 else _PART
  taps = jnp.pad(taps_BxR, ((0, 0), (0, num_parts * _PART - num_taps)))
  taps_BxQxF = jnp.fft.rfft(taps.reshape(size, num_parts, _PART), _FFT)

  num_blocks = -(-num_samples // step)
  after = num_blocks * step - num_samples
  padded = jnp.pad(audio_BxS, ((0, 0), (_FFT - step, after)))
  blocks_BxNxW = jnp.stack(
    [padded[:, n * step :][:, :_FFT] for n in range(num_blocks)], axis=1
  )
  blocks_BxNxF = jnp.fft.rfft(blocks_BxNxW)
  delayed = [
    jnp.pad(blocks_BxNxF[:, : num_blocks - part], ((0, 0), (part, 0), (0, 0)))
    * taps_BxQxF[:, part : part + 1]
    for part in range(min(num_parts, num_blocks))
  ]
  valid = jnp.fft.irfft(sum(delayed[1:], delayed[0]), _FFT)[..., -step:]
  return valid.reshape(size, -1)[:, :num_samples]
