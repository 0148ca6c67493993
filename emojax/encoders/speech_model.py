"""wav2vec 2.0, HuBERT and WavLM as one family of Flax modules.

Baevski et al. 2020, "wav2vec 2.0: a framework for self-supervised learning of
speech representations"; Hsu et al. 2021, "HuBERT"; Chen et al. 2022, "WavLM".
Modules and parameters carry the names of the published checkpoints.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emojax.encoders import span_masking
from emojax.encoders.activations import ACTIVATIONS
from emojax.encoders.attention import attend
from emojax.encoders.dense import dense
from emojax.encoders.speech_config import SpeechConfig

_CONV_EPSILON = 1e-5  # Not in the configs: PyTorch's default.


class SpeechEncoder(nn.Module):
  """A waveform encoder.

  Attributes:
    config: the architecture.
    masked: whether padding is hidden from everything. Base models were trained
      without: they take zeros after a clip for a part of it.
    dtype: type of the computation; parameters are float32.
    remat: whether the backward pass computes each layer a second time instead
      of keeping its intermediate values.
  """

  config: SpeechConfig
  masked: bool = True
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(
    self,
    audio_BxS: jax.Array,
    lengths_B: jax.Array | None = None,
    train: bool = False,
  ) -> dict[str, Any]:
    """Encodes a batch of clips.

    Args:
      audio_BxS: samples as the checkpoint's preprocessor gives them, zeros
        after the end of a clip.
      lengths_B: samples of each clip; None: all are S long.
      train: whether dropout, layer drop and the masking of spans are active;
        they draw from the rng 'dropout'.

    Returns:
      `last_hidden_state` [B, T, D]; `hidden_states`, the input of the first
      layer and the output of each, as a tuple of [B, T, D]; and `mask` [B, T],
      true for the frames of the clip itself.
    """
    config, dtype = self.config, self.dtype
    batch, samples = audio_BxS.shape
    if lengths_B is None:
      lengths_B = jnp.full(batch, samples)
    frames_B = config.num_frames(lengths_B)
    features = FeatureEncoder(config, dtype, name="feature_extractor")(
      audio_BxS, lengths_B if self.masked else None
    )
    mask_BxT = jnp.arange(features.shape[1])[None] < frames_B[:, None]
    x_BxTxD = FeatureProjection(config, dtype, name="feature_projection")(
      features, train
    )
    x_BxTxD = self._mask_spans(x_BxTxD, frames_B, train)
    transformer = Transformer(config, dtype, self.remat, name="encoder")
    last_hidden_state, hidden_states = transformer(
      x_BxTxD, mask_BxT if self.masked else None, train
    )
    return {
      "last_hidden_state": last_hidden_state,
      "hidden_states": hidden_states,
      "mask": mask_BxT,
    }

  def _mask_spans(self, x_BxTxD, frames_B, train):
    """Hides spans of frames and of features, after SpecAugment."""
    config = self.config
    if config.mask_time_prob == config.mask_feature_prob == 0:
      return x_BxTxD
    embedding = self.param(
      "masked_spec_embed", nn.initializers.uniform(1.0), (config.hidden_size,)
    )
    if not (train and config.apply_spec_augment):
      return x_BxTxD
    batch, frames, size = x_BxTxD.shape
    if config.mask_time_prob > 0:
      hidden = span_masking.spans(
        self.make_rng("dropout"),
        frames_B if self.masked else jnp.full(batch, frames),
        frames,
        config.mask_time_prob,
        config.mask_time_length,
        config.mask_time_min_masks,
      )
      x_BxTxD = jnp.where(
        hidden[..., None], embedding.astype(self.dtype)[None, None], x_BxTxD
      )
    if config.mask_feature_prob > 0:
      hidden = span_masking.spans(
        self.make_rng("dropout"),
        jnp.full(batch, size),
        size,
        config.mask_feature_prob,
        config.mask_feature_length,
        config.mask_feature_min_masks,
      )
      x_BxTxD = jnp.where(hidden[:, None], 0, x_BxTxD)
    return x_BxTxD


class CTC(nn.Module):
  """A speech encoder with a linear layer to the tokens of a transcript.

  Connectionist temporal classification: Graves et al. 2006.
  """

  config: SpeechConfig
  masked: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    audio_BxS: jax.Array,
    lengths_B: jax.Array | None = None,
    train: bool = False,
  ) -> dict[str, Any]:
    """Gives the encoder's outputs and `logits` [B, T, V], in float32."""
    encoder = SpeechEncoder(
      self.config, self.masked, self.dtype, name=self.config.model_type
    )
    outputs = encoder(audio_BxS, lengths_B, train)
    x = _dropout(self.config.final_dropout, train)(outputs["last_hidden_state"])
    logits = dense(self.config.vocab_size, self.dtype, "lm_head")(x)
    return outputs | {"logits": logits.astype(jnp.float32)}


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
      x_BxTxC = _layer_norm(_CONV_EPSILON, self.dtype, "layer_norm")(x_BxTxC)
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
      x = _layer_norm(self.config.layer_norm_eps, self.dtype, "layer_norm")(x)
    x = dense(self.config.hidden_size, self.dtype, "projection")(x)
    return _dropout(self.config.feat_proj_dropout, train)(x)


class Transformer(nn.Module):
  """Position embedding by convolution, and the layers."""

  config: SpeechConfig
  dtype: Any
  remat: bool

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    """Gives the output, and the hidden states of all layers."""
    config = self.config
    norm = _layer_norm(config.layer_norm_eps, self.dtype, "layer_norm")
    if mask_BxT is not None:
      x_BxTxD = jnp.where(mask_BxT[..., None], x_BxTxD, 0)
    x_BxTxD += PositionalConvolution(config, self.dtype, name="pos_conv_embed")(
      x_BxTxD
    )
    if not config.do_stable_layer_norm:
      x_BxTxD = norm(x_BxTxD)
    x_BxTxD = _dropout(config.hidden_dropout, train)(x_BxTxD)
    hidden_states = [x_BxTxD]
    layer_class = nn.remat(Layer, static_argnums=(4,)) if self.remat else Layer
    bias_HxTxT = None
    for index in range(config.num_hidden_layers):
      layer = layer_class(config, index, self.dtype, name=f"layers_{index}")
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


class PositionalConvolution(nn.Module):
  """Positions relative to the neighbours, by a wide convolution."""

  config: SpeechConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD):
    x_BxTxD = WeightNormConvolution(self.config, self.dtype, name="conv")(
      x_BxTxD
    )
    return ACTIVATIONS[self.config.feat_extract_activation](x_BxTxD)


class WeightNormConvolution(nn.Module):
  """A convolution in groups, its weight as direction and length.

  Weight norm: Salimans and Kingma 2016; here with a length for each tap.
  """

  config: SpeechConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD):
    size = self.config.hidden_size
    width = self.config.num_conv_pos_embeddings
    groups = self.config.num_conv_pos_embedding_groups

    def length(direction):
      return jnp.sqrt((direction**2).sum(axis=(0, 1), keepdims=True))

    deviation = 2 * math.sqrt(1 / (width * size))
    direction = self.param(
      "weight_v",
      nn.initializers.normal(deviation),
      (size, size // groups, width),
    )
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
  if jax.default_backend() != "cpu":
    return convolve(x_BxTxD, kernel, feature_group_count=groups)
  # XLA's grouped convolution takes 1.7 times as long as its groups one by one.
  parts = zip(
    jnp.split(x_BxTxD, groups, axis=-1),
    jnp.split(kernel, groups, axis=-1),
    strict=True,
  )
  return jnp.concatenate([convolve(x, k) for x, k in parts], axis=-1)


class Layer(nn.Module):
  """Self-attention and feed-forward network, each with a residual."""

  config: SpeechConfig
  index: int
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, bias_HxTxT, train):
    config = self.config
    epsilon = config.layer_norm_eps
    norm = _layer_norm(epsilon, self.dtype, "layer_norm")
    final_norm = _layer_norm(epsilon, self.dtype, "final_layer_norm")
    attention = Attention(config, self.index, self.dtype, name="attention")
    feed_forward = FeedForward(config, self.dtype, name="feed_forward")
    drop = _dropout(config.hidden_dropout, train)
    if config.do_stable_layer_norm:
      y, bias_HxTxT = attention(norm(x_BxTxD), mask_BxT, bias_HxTxT, train)
      x_BxTxD += drop(y)
      x_BxTxD += feed_forward(final_norm(x_BxTxD), train)
    else:
      y, bias_HxTxT = attention(x_BxTxD, mask_BxT, bias_HxTxT, train)
      x_BxTxD = norm(x_BxTxD + drop(y))
      x_BxTxD = final_norm(x_BxTxD + feed_forward(x_BxTxD, train))
    return x_BxTxD, bias_HxTxT


class Attention(nn.Module):
  """Multi-head self-attention; WavLM's with gated relative positions."""

  config: SpeechConfig
  index: int
  dtype: Any

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
    positions = np.arange(frames)
    buckets = distance_buckets(
      positions[None] - positions[:, None],
      config.num_buckets,
      config.max_bucket_distance,
    )
    return embedding(buckets).transpose(2, 0, 1)

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
  """Numbers the bucket of each distance: exact when near, logarithmic when far.

  Raffel et al. 2020 (T5), in both directions.
  """
  half = num_buckets // 2
  exact = half // 2
  far = np.maximum(np.abs(distances), 1).astype(np.float32)
  share = np.log(far / np.float32(exact)) / math.log(max_distance / exact)
  logarithmic = exact + (share * (half - exact)).astype(np.int64)
  near = np.abs(distances) < exact
  bucket = np.where(near, np.abs(distances), np.minimum(logarithmic, half - 1))
  return bucket + half * (distances > 0)


class FeedForward(nn.Module):
  """Two dense layers."""

  config: SpeechConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, train):
    config = self.config
    x = dense(config.intermediate_size, self.dtype, "intermediate_dense")(
      x_BxTxD
    )
    x = ACTIVATIONS[config.hidden_act](x)
    x = _dropout(config.activation_dropout, train)(x)
    x = dense(config.hidden_size, self.dtype, "output_dense")(x)
    return _dropout(config.hidden_dropout, train)(x)


def _layer_norm(epsilon, dtype, name):
  # The fast variance, E[x^2] - E[x]^2, loses what parity asks for.
  return nn.LayerNorm(epsilon, dtype, use_fast_variance=False, name=name)


def _dropout(rate, train):
  return nn.Dropout(rate, deterministic=not train)
