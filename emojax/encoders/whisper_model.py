"""Whisper's encoder as a Flax module.

Radford et al. 2023, "Robust speech recognition via large-scale weak
supervision". Modules and parameters carry the names of the published
checkpoints.

B clips, S samples, T frames, M mel bands, D features, H heads of K units.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.encoders import span_masking
from emojax.encoders.layers import (
  ACTIVATIONS,
  dense,
  dropout,
  gelu,
  layer_norm,
)
from emojax.encoders.whisper_config import SAMPLES_PER_FRAME, WhisperConfig
from emojax.encoders.whisper_features import log_mel
from emojax.kernels.attention import attend

EPSILON = 1e-5  # Not in the configs: PyTorch's default.


class WhisperEncoder(nn.Module):
  """The encoder of clips of up to 30 s.

  Attributes:
    config: the architecture.
    window: whether clips are filled up with silence to 30 s, as the published
      model was trained. Else positions end with the clip: no frame sees what
      is not of it, and a clip of 4 s takes a tenth of the time.
    dtype: type of the computation; parameters are float32.
    remat: whether the backward pass computes each layer a second time.
  """

  config: WhisperConfig
  window: bool = False
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(
    self, inputs: jax.Array, lengths_B: jax.Array | None, train: bool = False
  ) -> dict[str, Any]:
    """See `Encoder.module`; S is at most `config.window_samples`.

    The inputs are audio [B, S], or spectra [B, T, M] of whole windows without
    lengths. `hidden_states` are the input of the first layer and the output of
    each, the last one normalised, as published. `states` are what the decoder
    attends to: with the silence, where the window is filled up.
    """
    config = self.config
    frames = self._num_frames(inputs)
    if lengths_B is None:
      lengths_B = jnp.full(len(inputs), config.window_samples)
    mask_BxT = _frames(lengths_B, frames)
    whole = self.window or frames == config.max_source_positions
    x_BxTxM = inputs
    if inputs.ndim == 2:
      x_BxTxM = self._spectra(inputs, frames, whole)
    x_BxTxM = self._mask_spans(x_BxTxM, lengths_B, train)
    x_BxTxD = self._convolve(x_BxTxM.astype(self.dtype), after=int(whole))
    x_BxTxD = self._place(x_BxTxD)
    x_BxTxD = dropout(config.dropout, train)(x_BxTxD)
    # What was trained with silence up to 30 s hears it; else it is hidden.
    heard_BxT = None if self.window else mask_BxT
    hidden_states = self._transform(x_BxTxD, heard_BxT, train)
    return {
      "last_hidden_state": hidden_states[-1][:, :frames],
      "hidden_states": tuple(x[:, :frames] for x in hidden_states),
      "mask": mask_BxT,
      "states": hidden_states[-1],
    }

  def _num_frames(self, inputs):
    """Of the longest clip; the inputs are those of a call."""
    if inputs.ndim == 3:
      return self.config.max_source_positions
    frames = -(-inputs.shape[1] // SAMPLES_PER_FRAME)
    if frames > self.config.max_source_positions:
      raise ValueError(
        f"{inputs.shape[1]} samples; Whisper hears {self.config.window_samples}"
      )
    return frames

  def _spectra(self, audio_BxS, frames, whole):
    bands = self.config.num_mel_bins
    if whole:
      return log_mel(audio_BxS, bands, 2 * self.config.max_source_positions)
    # One spectrum more than the convolutions' centres: the last one looks at
    # the silence after the clip, and not at the zeros beside an array.
    return log_mel(audio_BxS, bands, 2 * frames + 1, mirrored=False)

  def _place(self, x_BxTxD):
    """Adds the embeddings of the positions."""
    embedding = nn.Embed(
      self.config.max_source_positions,
      self.config.d_model,
      embedding_init=_sinusoids,
      name="embed_positions",
    )
    places_TxD = embedding(jnp.arange(x_BxTxD.shape[1]))
    return x_BxTxD + places_TxD.astype(self.dtype)[None]

  def _transform(self, x_BxTxD, heard_BxT, train):
    """What goes into the first layer, and what comes out of each."""
    hidden_states = [x_BxTxD]
    layer_class = EncoderLayer
    if self.remat:
      layer_class = nn.remat(EncoderLayer, static_argnums=(3,))
    for index in range(self.config.encoder_layers):
      layer = layer_class(self.config, self.dtype, name=f"layers_{index}")
      output = layer(x_BxTxD, heard_BxT, train)
      x_BxTxD = self._drop_layer(output, x_BxTxD, train)
      hidden_states.append(x_BxTxD)
    norm = layer_norm(EPSILON, self.dtype, "layer_norm")
    return [*hidden_states[:-1], norm(x_BxTxD)]

  def _convolve(self, x_BxTxM, after):
    for name, stride, padding in (
      ("conv1", 1, (1, after)),
      ("conv2", 2, (1, 1)),
    ):
      convolve = nn.Conv(
        self.config.d_model,
        (3,),
        stride,
        padding=(padding,),
        dtype=self.dtype,
        name=name,
      )
      x_BxTxM = gelu(convolve(x_BxTxM))
    return x_BxTxM

  def _drop_layer(self, output, x_BxTxD, train):
    rate = self.config.encoder_layerdrop
    if not train or rate == 0:
      return output
    skipped = jax.random.bernoulli(self.make_rng("dropout"), rate)
    return jnp.where(skipped, x_BxTxD, output)

  def _mask_spans(self, x_BxTxM, lengths_B, train):
    """Hides spans of spectra and of bands (SpecAugment), as zeros."""
    config = self.config
    if not (train and config.apply_spec_augment):
      return x_BxTxM
    size = x_BxTxM.shape[1]
    spectra_B = 2 * jnp.minimum(-(-lengths_B // SAMPLES_PER_FRAME), size // 2)
    return span_masking.masked(
      x_BxTxM, spectra_B, config, lambda: self.make_rng("dropout")
    )


class EncoderLayer(nn.Module):
  """Self-attention and feed-forward network, normalised before each."""

  config: WhisperConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    config, dtype = self.config, self.dtype
    attention = Attention(
      config.d_model, config.encoder_attention_heads, dtype, name="self_attn"
    )
    y_BxTxD = layer_norm(EPSILON, dtype, "self_attn_layer_norm")(x_BxTxD)
    rate = config.attention_dropout
    y_BxTxHxK = attend(
      attention.queries(y_BxTxD),
      *attention.keys(y_BxTxD),
      mask_BxT,
      dropout_rate=rate,
      dropout_key=self.make_rng("dropout") if train and rate > 0 else None,
    )
    x_BxTxD += dropout(config.dropout, train)(attention.join(y_BxTxHxK))
    y_BxTxD = layer_norm(EPSILON, dtype, "final_layer_norm")(x_BxTxD)
    y_BxTxF = dense(config.encoder_ffn_dim, dtype, "fc1")(y_BxTxD)
    y_BxTxF = ACTIVATIONS[config.activation_function](y_BxTxF)
    y_BxTxF = dropout(config.activation_dropout, train)(y_BxTxF)
    y_BxTxD = dense(config.d_model, dtype, "fc2")(y_BxTxF)
    return x_BxTxD + dropout(config.dropout, train)(y_BxTxD)


class Attention(nn.Module):
  """The four projections of an attention."""

  size: int
  heads: int
  dtype: Any

  def setup(self):
    self.q_proj = dense(self.size, self.dtype)
    self.k_proj = dense(self.size, self.dtype, use_bias=False)
    self.v_proj = dense(self.size, self.dtype)
    self.out_proj = dense(self.size, self.dtype)

  def queries(self, x_BxTxD):
    return self._heads(self.q_proj(x_BxTxD))

  def keys(self, x_BxTxD):
    """Keys and values, [B, T, H, K] each."""
    return self._heads(self.k_proj(x_BxTxD)), self._heads(self.v_proj(x_BxTxD))

  def join(self, y_BxTxHxK):
    return self.out_proj(y_BxTxHxK.reshape(*y_BxTxHxK.shape[:2], -1))

  def _heads(self, x_BxTxD):
    return x_BxTxD.reshape(*x_BxTxD.shape[:2], self.heads, -1)


def _frames(lengths_B, size):
  frames_B = -(-lengths_B // SAMPLES_PER_FRAME)
  return jnp.arange(size)[None] < frames_B[:, None]


def _sinusoids(key, shape, dtype=jnp.float32):
  """Positions as they are before training, and stay in most checkpoints."""
  del key
  length, size = shape
  scale = jnp.exp(-jnp.log(10_000.0) / (size // 2 - 1) * jnp.arange(size // 2))
  angle = jnp.arange(length)[:, None] * scale[None]
  return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1).astype(dtype)
