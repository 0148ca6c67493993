"""Whisper's encoder and decoder as Flax modules.

Radford et al. 2023, "Robust speech recognition via large-scale weak
supervision". Modules and parameters carry the names of the published
checkpoints.

B clips, S samples, T frames or tokens, N positions of the cache, D features,
H heads of K units, V tokens of the vocabulary.
"""

from typing import Any, NamedTuple

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

_EPSILON = 1e-5  # Not in the configs: PyTorch's default.
_EXCLUDED = -1e30


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
    norm = layer_norm(_EPSILON, self.dtype, "layer_norm")
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
    batch, size, bands = x_BxTxM.shape
    if config.mask_time_prob > 0:
      spectra_B = 2 * jnp.minimum(-(-lengths_B // SAMPLES_PER_FRAME), size // 2)
      hidden_BxT = span_masking.spans(
        self.make_rng("dropout"),
        spectra_B,
        size,
        config.mask_time_prob,
        config.mask_time_length,
        config.mask_time_min_masks,
      )
      x_BxTxM = jnp.where(hidden_BxT[..., None], 0, x_BxTxM)
    if config.mask_feature_prob > 0:
      hidden_BxM = span_masking.spans(
        self.make_rng("dropout"),
        jnp.full(batch, bands),
        bands,
        config.mask_feature_prob,
        config.mask_feature_length,
        config.mask_feature_min_masks,
      )
      x_BxTxM = jnp.where(hidden_BxM[:, None], 0, x_BxTxM)
    return x_BxTxM


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
    y_BxTxD = layer_norm(_EPSILON, dtype, "self_attn_layer_norm")(x_BxTxD)
    rate = config.attention_dropout
    y_BxTxHxK = attend(
      attention.queries(y_BxTxD),
      *attention.keys(y_BxTxD),
      mask_BxT,
      dropout_rate=rate,
      dropout_key=self.make_rng("dropout") if train and rate > 0 else None,
    )
    x_BxTxD += dropout(config.dropout, train)(attention.join(y_BxTxHxK))
    y_BxTxD = layer_norm(_EPSILON, dtype, "final_layer_norm")(x_BxTxD)
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


class Seen(NamedTuple):
  """Keys and values of a layer, laid out for products with few queries.

  R = B * H: as the products take them. With an axis for each, XLA would
  reshape the cache beside writing it, and copy all of it four times a token.
  """

  key_RxKxN: jax.Array
  value_RxNxK: jax.Array


class Sound(NamedTuple):
  """What the decoder attends to of clips: of each layer, and where."""

  layers: list[Seen]
  mask_BxT: jax.Array | None


class WhisperDecoder(nn.Module):
  """The decoder: tokens of a transcript, given the encoder's states.

  Everything that it has to remember is handed in and out, so that a step is a
  pure function.
  """

  config: WhisperConfig
  dtype: Any = jnp.float32

  def setup(self):
    config = self.config
    self.embed_tokens = nn.Embed(config.vocab_size, config.d_model)
    self.embed_positions = nn.Embed(config.max_target_positions, config.d_model)
    self.layers = [
      DecoderLayer(config, self.dtype) for _ in range(config.decoder_layers)
    ]
    self.layer_norm = layer_norm(_EPSILON, self.dtype)

  def read(self, states_BxTxD: jax.Array, tokens_BxT: jax.Array) -> jax.Array:
    """The logits of what follows each token of whole transcripts, [B, T, V]."""
    cache = self.start(*tokens_BxT.shape)
    return self(tokens_BxT, 0, self.look(states_BxTxD), cache)[0]

  def look(
    self, states_BxTxD: jax.Array, mask_BxT: jax.Array | None = None
  ) -> Sound:
    """What is attended to of an encoder's `states`; computed once.

    The mask is false for frames that are hidden; None hides none.
    """
    layers = [layer.look(states_BxTxD) for layer in self.layers]
    return Sound(layers, mask_BxT)

  def start(self, batch: int, positions: int) -> list[Seen]:
    """An empty cache for so many tokens."""
    config = self.config
    rows = batch * config.decoder_attention_heads
    units = config.d_model // config.decoder_attention_heads
    seen = Seen(
      jnp.zeros((rows, units, positions), self.dtype),
      jnp.zeros((rows, positions, units), self.dtype),
    )
    return [seen] * config.decoder_layers

  def __call__(
    self,
    tokens_BxT: jax.Array,
    position: jax.Array | int,
    sound: Sound,
    cache: list[Seen],
  ) -> tuple[jax.Array, list[Seen]]:
    """The logits of what follows each of T tokens, and the longer cache.

    Args:
      tokens_BxT: the next tokens.
      position: how many are in the cache before.
      sound: of `look`, also of fewer clips: each is that of B / clips rows.
      cache: of `start`, or of the call before.

    Returns:
      float32 [B, T, V]; the cache with these tokens.
    """
    places_T = position + jnp.arange(tokens_BxT.shape[1])
    x_BxTxD = self.embed_tokens(tokens_BxT)
    x_BxTxD += self.embed_positions(places_T)[None]
    x_BxTxD = x_BxTxD.astype(self.dtype)
    longer = []
    heard_Bx1xT = None
    if sound.mask_BxT is not None:
      heard_Bx1xT = sound.mask_BxT[:, None]
    for layer, heard, seen in zip(
      self.layers, sound.layers, cache, strict=True
    ):
      x_BxTxD, seen = layer(x_BxTxD, places_T, heard, heard_Bx1xT, seen)
      longer.append(seen)
    x_BxTxD = self.layer_norm(x_BxTxD)
    # The embedding is the output, too.
    table_VxD = self.embed_tokens.embedding.astype(self.dtype)
    # Table first: on a CPU a fifth faster for one token than token first.
    logits_VxBxT = jnp.einsum(
      "vd,btd->vbt", table_VxD, x_BxTxD, preferred_element_type=jnp.float32
    )
    logits_BxTxV = logits_VxBxT.transpose(1, 2, 0)
    return logits_BxTxV, longer


class DecoderLayer(nn.Module):
  """Attention to the tokens before, attention to the sound, feed-forward."""

  config: WhisperConfig
  dtype: Any

  def setup(self):
    config, heads = self.config, self.config.decoder_attention_heads
    self.self_attn, self.encoder_attn = (
      Attention(config.d_model, heads, self.dtype) for _ in range(2)
    )
    self.self_attn_layer_norm = layer_norm(_EPSILON, self.dtype)
    self.encoder_attn_layer_norm = layer_norm(_EPSILON, self.dtype)
    self.final_layer_norm = layer_norm(_EPSILON, self.dtype)
    self.fc1 = dense(config.decoder_ffn_dim, self.dtype)
    self.fc2 = dense(config.d_model, self.dtype)

  def look(self, states_BxTxD):
    return _seen(*self.encoder_attn.keys(states_BxTxD))

  def __call__(self, x_BxTxD, places_T, heard, heard_Bx1xT, cache):
    y_BxTxD = self.self_attn_layer_norm(x_BxTxD)
    new = _seen(*self.self_attn.keys(y_BxTxD))
    cache = Seen(
      jax.lax.dynamic_update_slice_in_dim(cache[0], new[0], places_T[0], 2),
      jax.lax.dynamic_update_slice_in_dim(cache[1], new[1], places_T[0], 1),
    )
    written_TxN = jnp.arange(cache[0].shape[-1])[None] <= places_T[:, None]
    query = self.self_attn.queries(y_BxTxD)
    x_BxTxD += self.self_attn.join(_attend_to(query, cache, written_TxN[None]))
    query = self.encoder_attn.queries(self.encoder_attn_layer_norm(x_BxTxD))
    # Rows of one clip, such as beams, are as queries of one row.
    clips = len(heard.key_RxKxN) // query.shape[2]
    y = _attend_to(
      query.reshape(clips, -1, *query.shape[2:]), heard, heard_Bx1xT
    )
    x_BxTxD += self.encoder_attn.join(y.reshape(query.shape))
    activation = ACTIVATIONS[self.config.activation_function]
    y_BxTxD = self.fc1(self.final_layer_norm(x_BxTxD))
    return x_BxTxD + self.fc2(activation(y_BxTxD)), cache


def _seen(key_BxTxHxK, value_BxTxHxK):
  batch, size, heads, units = key_BxTxHxK.shape
  return Seen(
    key_BxTxHxK.transpose(0, 2, 3, 1).reshape(batch * heads, units, size),
    value_BxTxHxK.transpose(0, 2, 1, 3).reshape(batch * heads, size, units),
  )


def _attend_to(query_BxTxHxK, seen, allowed_BxTxN=None):
  """Scaled dot-product attention to what is laid out for it: [B, T, H, K]."""
  batch, size, heads, units = query_BxTxHxK.shape
  dtype = query_BxTxHxK.dtype
  query = query_BxTxHxK.transpose(0, 2, 1, 3) * units**-0.5
  scores_RxTxN = jnp.matmul(
    query.reshape(-1, size, units),
    seen.key_RxKxN,
    preferred_element_type=jnp.float32,
  )
  if allowed_BxTxN is not None:
    scores = scores_RxTxN.reshape(batch, heads, size, -1)
    scores = jnp.where(allowed_BxTxN[:, None], scores, _EXCLUDED)
    scores_RxTxN = scores.reshape(scores_RxTxN.shape)
  y_RxTxK = jnp.matmul(
    nn.softmax(scores_RxTxN).astype(dtype),
    seen.value_RxNxK,
    preferred_element_type=jnp.float32,
  )
  y_BxHxTxK = y_RxTxK.astype(dtype).reshape(batch, heads, size, units)
  return y_BxHxTxK.transpose(0, 2, 1, 3)


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
