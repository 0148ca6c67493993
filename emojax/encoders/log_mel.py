"""A convolutional encoder of log-mel spectrograms: the baseline.

It stands in the place of a pretrained encoder, so that everything behind it is
the same. No norm looks beyond its own frame: padding and batch mates change
nothing.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax import spectral
from emojax.encoders.interface import Encoder

_FFT = 512  # 32 ms.
_HOP = 320  # 20 ms, as in the wav2vec 2.0 family.
_NUM_MELS = 64
_RANGE = 16.0  # Below the loudest, in natural logarithms of power: 70 dB.


@dataclasses.dataclass(frozen=True)
class LogMel(Encoder):
  """A CNN on log-mel spectrograms; each block of channels halves the frames."""

  channels: tuple[int, ...] = (128, 128, 128)
  kinds = ("log_mel",)

  def module(self, dtype: Any, remat: bool = False) -> nn.Module:
    del remat  # There is little to save.
    return LogMelEncoder(self.channels, dtype)

  def num_frames(self, num_samples):
    frames = num_samples // _HOP + 1
    return -(-frames // 2 ** len(self.channels))

  @property
  def samples_per_frame(self) -> int:
    return _HOP * 2 ** len(self.channels)

  @property
  def min_samples(self) -> int:
    return self.samples_per_frame


class LogMelEncoder(nn.Module):
  """Blocks of a convolution over time, layer norm over channels, and ReLU.

  The bands are the channels of the first block, so that a filter knows which
  bands it hears. The kernels are 5 frames long and their stride is 2.
  """

  channels: tuple[int, ...]
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, audio_BxS: jax.Array, lengths_B: jax.Array, train: bool = False
  ) -> dict[str, Any]:
    """See `Encoder.module`; nothing is random in it."""
    del train
    log_mel_BxTxM = spectral.log_mel(
      audio_BxS, LogMel.sample_rate, _FFT, _HOP, _NUM_MELS
    )
    frames_B = lengths_B // _HOP + 1
    mask_BxT = _mask(log_mel_BxTxM, frames_B)
    x_BxTxD = _standardise(log_mel_BxTxM, mask_BxT).astype(self.dtype)
    for index, channels in enumerate(self.channels):
      x_BxTxD = nn.Conv(
        channels, (5,), (2,), padding=2, dtype=self.dtype, name=f"conv_{index}"
      )(x_BxTxD)
      norm = nn.LayerNorm(dtype=self.dtype, name=f"norm_{index}")
      x_BxTxD = nn.relu(norm(x_BxTxD))
      frames_B = (frames_B + 1) // 2
      mask_BxT = _mask(x_BxTxD, frames_B)
      # What a convolution sees of the padding is zero, as behind the end.
      x_BxTxD = jnp.where(mask_BxT[..., None], x_BxTxD, 0)
    return {
      "last_hidden_state": x_BxTxD,
      "hidden_states": (x_BxTxD,),
      "mask": mask_BxT,
    }


def _mask(x: jax.Array, frames_B: jax.Array) -> jax.Array:
  return jnp.arange(x.shape[1])[None] < frames_B[:, None]


def _standardise(x_BxTxM: jax.Array, mask_BxT: jax.Array) -> jax.Array:
  """Each clip to zero mean and unit variance, over time and bands together.

  The bands keep their differences: the tilt of the spectrum says much of the
  effort behind a voice.
  """
  mask_BxTx1 = mask_BxT[..., None]
  # What is inaudible beside the loudest is not to take up the variance.
  audible_BxTxM = jnp.where(mask_BxTx1, x_BxTxM, -jnp.inf)
  loudest_Bx1x1 = audible_BxTxM.max((1, 2), keepdims=True)
  x_BxTxM = jnp.maximum(x_BxTxM, loudest_Bx1x1 - _RANGE)
  count_Bx1x1 = jnp.maximum(mask_BxTx1.sum((1, 2), keepdims=True), 1)
  count_Bx1x1 = count_Bx1x1.astype(jnp.float32) * x_BxTxM.shape[-1]

  def mean(values_BxTxM):
    total = jnp.where(mask_BxTx1, values_BxTxM, 0).sum((1, 2), keepdims=True)
    return total / count_Bx1x1

  centred = jnp.where(mask_BxTx1, x_BxTxM - mean(x_BxTxM), 0)
  return centred * jax.lax.rsqrt(mean(jnp.square(centred)) + 1e-5)
