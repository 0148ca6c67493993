"""The convolutional front of the speech encoders: waveform to features."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.encoders.layers import ACTIVATIONS, dense, dropout, layer_norm
from emojax.encoders.speech_config import SpeechConfig

_CONV_EPSILON = 1e-5  # Not in the configs: PyTorch's default.


class FeatureEncoder(nn.Module):
  """Strided convolutions: 320 samples to one frame in all published models."""

  config: SpeechConfig
  dtype: Any

  @nn.compact
  def __call__(self, audio_BxS, lengths_B):
    x_BxTxC = audio_BxS[..., None].astype(self.dtype)
    for layer in range(len(self.config.conv_dim)):
      name = f"conv_layers_{layer}"
      x_BxTxC = ConvLayer(self.config, layer, self.dtype, name=name)(
        x_BxTxC, lengths_B
      )
    return x_BxTxC


class ConvLayer(nn.Module):
  """One convolution, its norm if it has one, and the activation."""

  config: SpeechConfig
  layer: int
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxC, lengths_B):
    config, layer = self.config, self.layer
    x_BxTxC = nn.Conv(
      config.conv_dim[layer],
      (config.conv_kernel[layer],),
      config.conv_stride[layer],
      padding="VALID",
      use_bias=config.conv_bias,
      dtype=self.dtype,
      kernel_init=nn.initializers.he_normal(),
      name="conv",
    )(x_BxTxC)
    if config.feat_extract_norm == "layer":
      x_BxTxC = layer_norm(_CONV_EPSILON, self.dtype, "layer_norm")(x_BxTxC)
    elif layer == 0:
      frames_B = None
      if lengths_B is not None:
        frames_B = (lengths_B - config.conv_kernel[0]) // config.conv_stride[0]
        frames_B += 1
      x_BxTxC = ChannelNorm(self.dtype, name="layer_norm")(x_BxTxC, frames_B)
    return ACTIVATIONS[config.feat_extract_activation](x_BxTxC)


class ChannelNorm(nn.Module):
  """Each channel normalised over time: a group norm of one channel a group.

  With `frames_B` the statistics are of those frames alone. PyTorch's are of
  the padding too, so that there a clip depends on its batch.
  """

  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxC, frames_B):
    channels = x_BxTxC.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    where = None
    if frames_B is not None:
      # A clip without a frame keeps one, so that nothing is divided by zero.
      steps = jnp.arange(x_BxTxC.shape[1])[None]
      where = (steps < jnp.maximum(frames_B, 1)[:, None])[..., None]
    mean = functools.partial(
      jnp.mean, axis=1, keepdims=True, where=where, dtype=jnp.float32
    )
    center = mean(x_BxTxC)
    variance = mean(jnp.square(x_BxTxC - center))
    gain = jax.lax.rsqrt(variance + _CONV_EPSILON) * scale[None, None]
    # One product and one sum for each value, and no centred copy of them all.
    offset = bias[None, None] - center * gain
    return (x_BxTxC * gain + offset).astype(self.dtype)


class FeatureProjection(nn.Module):
  """From the features to the width of the transformer."""

  config: SpeechConfig
  dtype: Any

  @nn.compact
  def __call__(self, features_BxTxC, train):
    x = features_BxTxC
    if self.config.feat_proj_layer_norm:
      x = layer_norm(self.config.layer_norm_eps, self.dtype, "layer_norm")(x)
    x = dense(self.config.hidden_size, self.dtype, "projection")(x)
    return dropout(self.config.feat_proj_dropout, train)(x)
