"""The parts of the speech encoders: convolutions, and the transformer."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emojax.encoders.layers import ACTIVATIONS, dense, dropout, layer_norm
from emojax.encoders.speech_config import SpeechConfig
from emojax.kernels import target
from emojax.kernels.attention import attend

_CONV_EPSILON = 1e-5  # Not in the configs: PyTorch's default.


class _Part(nn.Module):
  """What all parts have."""

  config: SpeechConfig
  dtype: Any


class FeatureEncoder(_Part):
  """Strided convolutions: 320 samples to one frame in all published models."""

  @nn.compact
  def __call__(self, audio_BxS, lengths_B):
    x_BxTxC = audio_BxS[..., None].astype(self.dtype)
    for layer in range(len(self.config.conv_dim)):
      name = f"conv_layers_{layer}"
      conv_layer = ConvLayer(self.config, self.dtype, layer, name=name)
      x_BxTxC = conv_layer(x_BxTxC, lengths_B)
    return x_BxTxC


class ConvLayer(_Part):
  """One convolution, its norm if it has one, and the activation."""

  layer: int

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


class FeatureProjection(_Part):
  """From the features to the width of the transformer."""

  @nn.compact
  def __call__(self, features_BxTxC, train):
    x = features_BxTxC
    if self.config.feat_proj_layer_norm:
      x = layer_norm(self.config.layer_norm_eps, self.dtype, "layer_norm")(x)
    x = dense(self.config.hidden_size, self.dtype, "projection")(x)
    return dropout(self.config.feat_proj_dropout, train)(x)


class Transformer(_Part):
  """Position embedding by convolution, and the layers."""

  remat: bool

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    """Gives the output, and the hidden states of all layers."""
    config = self.config
    norm = layer_norm(config.layer_norm_eps, self.dtype, "layer_norm")
    if mask_BxT is not None:
      x_BxTxD = jnp.where(mask_BxT[..., None], x_BxTxD, 0)
    embed = PositionalConvolution(config, self.dtype, name="pos_conv_embed")
    x_BxTxD += embed(x_BxTxD)
    if not config.do_stable_layer_norm:
      x_BxTxD = norm(x_BxTxD)
    x_BxTxD = dropout(config.hidden_dropout, train)(x_BxTxD)
    hidden_states = [x_BxTxD]
    layer_class = nn.remat(Layer, static_argnums=(4,)) if self.remat else Layer
    bias_HxTxT = None
    for index in range(config.num_hidden_layers):
      layer = layer_class(config, self.dtype, index, name=f"layers_{index}")
      output, bias_HxTxT = layer(x_BxTxD, mask_BxT, bias_HxTxT, train)
      x_BxTxD = self._drop_layer(index, output, x_BxTxD, train)
      hidden_states.append(x_BxTxD)
    if config.do_stable_layer_norm:
      x_BxTxD = norm(x_BxTxD)
    return x_BxTxD, tuple(hidden_states)

  def _drop_layer(self, index, output, x_BxTxD, train):
    """Skips a layer at random (Fan et al. 2019), in training."""
    rate = self.config.layerdrop
    # WavLM's first layer makes the bias of all: it stays.
    stays = index == 0 and self.config.model_type == "wavlm"
    if not train or rate == 0 or stays:
      return output
    skipped = jax.random.bernoulli(self.make_rng("dropout"), rate)
    return jnp.where(skipped, x_BxTxD, output)


class PositionalConvolution(_Part):
  """Positions relative to the neighbours, by a wide convolution."""

  @nn.compact
  def __call__(self, x_BxTxD):
    convolve = WeightNormConvolution(self.config, self.dtype, name="conv")
    return ACTIVATIONS[self.config.feat_extract_activation](convolve(x_BxTxD))


class WeightNormConvolution(_Part):
  """A convolution in groups, its weight as direction and length.

  Weight norm: Salimans and Kingma 2016; here with a length for each tap.
  """

  @nn.compact
  def __call__(self, x_BxTxD):
    size = self.config.hidden_size
    width = self.config.num_conv_pos_embeddings
    groups = self.config.num_conv_pos_embedding_groups

    def length(direction):
      return jnp.sqrt((direction**2).sum(axis=(0, 1), keepdims=True))

    draw = nn.initializers.normal(2 * math.sqrt(1 / (width * size)))
    direction = self.param("weight_v", draw, (size, size // groups, width))
    gain = self.param("weight_g", lambda _: length(direction))
    bias = self.param("bias", nn.initializers.zeros, (size,))
    weight = direction * (gain / length(direction))
    kernel = weight.transpose(2, 1, 0).astype(self.dtype)
    # PyTorch pads both sides alike; of an even kernel it drops the last frame.
    pad = (width // 2, width // 2 - (width % 2 == 0))
    x_BxTxD = _grouped_convolution(x_BxTxD, kernel, pad, groups)
    return x_BxTxD + bias.astype(self.dtype)[None, None]


def _grouped_convolution(x_BxTxD, kernel, pad, groups):
  # Padded before and not by the convolution: where the kernel is longer than
  # the clip XLA would exchange the two, which takes 20 times as long on a CPU.
  x_BxTxD = jnp.pad(x_BxTxD, ((0, 0), pad, (0, 0)))
  convolve = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=(1,),
    padding="VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
  )
  if target.platform() != "cpu":
    return convolve(x_BxTxD, kernel, feature_group_count=groups)
  # XLA's grouped convolution takes 1.7 times as long as its groups one by one.
  parts = zip(
    jnp.split(x_BxTxD, groups, axis=-1),
    jnp.split(kernel, groups, axis=-1),
    strict=True,
  )
  return jnp.concatenate([convolve(x, k) for x, k in parts], axis=-1)


class Layer(_Part):
  """Self-attention and feed-forward network, each with a residual."""

  index: int

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, bias_HxTxT, train):
    config = self.config
    norm, final_norm = (
      layer_norm(config.layer_norm_eps, self.dtype, name)
      for name in ("layer_norm", "final_layer_norm")
    )
    attention = Attention(config, self.dtype, self.index, name="attention")
    feed_forward = FeedForward(config, self.dtype, name="feed_forward")
    drop = dropout(config.hidden_dropout, train)
    if config.do_stable_layer_norm:
      y, bias_HxTxT = attention(norm(x_BxTxD), mask_BxT, bias_HxTxT, train)
      x_BxTxD += drop(y)
      x_BxTxD += feed_forward(final_norm(x_BxTxD), train)
    else:
      y, bias_HxTxT = attention(x_BxTxD, mask_BxT, bias_HxTxT, train)
      x_BxTxD = norm(x_BxTxD + drop(y))
      x_BxTxD = final_norm(x_BxTxD + feed_forward(x_BxTxD, train))
    return x_BxTxD, bias_HxTxT


class Attention(_Part):
  """Multi-head self-attention; WavLM's with gated relative positions."""

  index: int

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, bias_HxTxT, train):
    config = self.config
    heads = config.num_attention_heads
    x_BxTxHxK = x_BxTxD.reshape(*x_BxTxD.shape[:2], heads, -1)

    def project(name):
      projected = dense(config.hidden_size, self.dtype, name)(x_BxTxD)
      return projected.reshape(x_BxTxHxK.shape)

    gated_BxHxTxT = None
    if config.model_type == "wavlm":
      if self.index == 0:
        bias_HxTxT = self._position_bias(x_BxTxD.shape[1])
      gate_BxHxTx1 = self._gate(x_BxTxHxK)
      gated_BxHxTxT = gate_BxHxTx1 * bias_HxTxT[None].astype(self.dtype)
    rate = config.attention_dropout
    y_BxTxHxK = attend(
      project("q_proj"),
      project("k_proj"),
      project("v_proj"),
      mask_BxT,
      gated_BxHxTxT,
      rate,
      self.make_rng("dropout") if train and rate > 0 else None,
    )
    y = y_BxTxHxK.reshape(x_BxTxD.shape)
    return dense(config.hidden_size, self.dtype, "out_proj")(y), bias_HxTxT

  def _position_bias(self, frames):
    """The first layer's bias of each distance, [H, T, T], for all layers."""
    config = self.config
    embedding = nn.Embed(
      config.num_buckets, config.num_attention_heads, name="rel_attn_embed"
    )
    # Of all distances that differ; the number of frames need not be known yet.
    farthest = config.max_bucket_distance
    buckets = distance_buckets(
      np.arange(-farthest, farthest + 1), config.num_buckets, farthest
    )
    positions = jnp.arange(frames)
    distances = positions[None] - positions[:, None]
    places = jnp.clip(distances, -farthest, farthest) + farthest
    return embedding(buckets).T[:, places]

  def _gate(self, x_BxTxHxK):
    """Chen et al. 2022, Eqs. 5 to 7: the gate of each query, [B, H, T, 1]."""
    constant = self.param(
      "gru_rel_pos_const",
      nn.initializers.ones,
      (1, self.config.num_attention_heads, 1, 1),
    )
    logits = dense(8, self.dtype, "gru_rel_pos_linear")(x_BxTxHxK)
    logits = logits.reshape(*logits.shape[:-1], 2, 4).sum(-1)
    update, reset = jnp.split(nn.sigmoid(logits.transpose(0, 2, 1, 3)), 2, -1)
    return update * (reset * constant.astype(self.dtype) - 1) + 2


def distance_buckets(
  distances: np.ndarray, num_buckets: int, max_distance: int
) -> np.ndarray:
  """Buckets of distances, exact when near, else logarithmic (T5, both ways)."""
  half = num_buckets // 2
  exact = half // 2
  far = np.maximum(np.abs(distances), 1).astype(np.float32)
  share = np.log(far / np.float32(exact)) / math.log(max_distance / exact)
  logarithmic = exact + (share * (half - exact)).astype(np.int64)
  near = np.abs(distances) < exact
  bucket = np.where(near, np.abs(distances), np.minimum(logarithmic, half - 1))
  return bucket + half * (distances > 0)


class FeedForward(_Part):
  """Two dense layers."""

  @nn.compact
  def __call__(self, x_BxTxD, train):
    config = self.config
    widen = dense(config.intermediate_size, self.dtype, "intermediate_dense")
    x = ACTIVATIONS[config.hidden_act](widen(x_BxTxD))
    x = dropout(config.activation_dropout, train)(x)
    x = dense(config.hidden_size, self.dtype, "output_dense")(x)
    return dropout(config.hidden_dropout, train)(x)
