"""Whisper's decoder as a Flax module.

Radford et al. 2023, "Robust speech recognition via large-scale weak
supervision". Modules and parameters carry the names of the published
checkpoints.

B clips, T tokens or frames, N positions of the cache or frames, D features,
H heads of K units, V tokens of the vocabulary.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.encoders.layers import ACTIVATIONS, dense, layer_norm
from emojax.encoders.whisper_config import WhisperConfig
from emojax.encoders.whisper_model import EPSILON, Attention

_EXCLUDED = -1e30


class KeyValues(NamedTuple):
  """Keys and values of a layer, laid out for products with few queries.

  R = B * H: as the products take them. With an axis for each, XLA would
  reshape the cache beside writing it, and copy all of it four times a token.
  """

  key_RxKxN: jax.Array
  value_RxNxK: jax.Array


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
    self.layer_norm = layer_norm(EPSILON, self.dtype)

  def teacher_forced(
    self, states_BxTxD: jax.Array, tokens_BxT: jax.Array
  ) -> jax.Array:
    """The logits of what follows each token of whole transcripts, [B, T, V]."""
    cache = self.start(*tokens_BxT.shape)
    return self(tokens_BxT, 0, self.cross_cache(states_BxTxD), cache)[0]

  def cross_cache(self, states_BxTxD: jax.Array) -> list[KeyValues]:
    """What each layer attends to of an encoder's `states`; computed once."""
    return [layer.cross_cache(states_BxTxD) for layer in self.layers]

  def start(self, batch: int, positions: int) -> list[KeyValues]:
    """An empty cache for so many tokens."""
    config = self.config
    rows = batch * config.decoder_attention_heads
    units = config.d_model // config.decoder_attention_heads
    seen = KeyValues(
      jnp.zeros((rows, units, positions), self.dtype),
      jnp.zeros((rows, positions, units), self.dtype),
    )
    return [seen] * config.decoder_layers

  def __call__(
    self,
    tokens_BxT: jax.Array,
    position: jax.Array | int,
    cross: list[KeyValues],
    cache: list[KeyValues],
  ) -> tuple[jax.Array, list[KeyValues]]:
    """The logits of what follows each of T tokens, and the longer cache.

    Args:
      tokens_BxT: the next tokens.
      position: how many are in the cache before.
      cross: of `cross_cache`, also of fewer clips: each serves B / clips rows.
      cache: of `start`, or of the call before.

    Returns:
      float32 [B, T, V]; the cache with these tokens.
    """
    places_T = position + jnp.arange(tokens_BxT.shape[1])
    x_BxTxD = self.embed_tokens(tokens_BxT)
    x_BxTxD += self.embed_positions(places_T)[None]
    x_BxTxD = x_BxTxD.astype(self.dtype)
    longer = []
    for layer, *known in zip(self.layers, cross, cache, strict=True):
      x_BxTxD, own = layer(x_BxTxD, places_T, *known)
      longer.append(own)
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
    self.self_attn_layer_norm = layer_norm(EPSILON, self.dtype)
    self.encoder_attn_layer_norm = layer_norm(EPSILON, self.dtype)
    self.final_layer_norm = layer_norm(EPSILON, self.dtype)
    self.fc1 = dense(config.decoder_ffn_dim, self.dtype)
    self.fc2 = dense(config.d_model, self.dtype)

  def cross_cache(self, states_BxTxD):
    return _seen(*self.encoder_attn.keys(states_BxTxD))

  def __call__(self, x_BxTxD, places_T, cross, cache):
    y_BxTxD = self.self_attn_layer_norm(x_BxTxD)
    new = _seen(*self.self_attn.keys(y_BxTxD))
    cache = KeyValues(
      jax.lax.dynamic_update_slice_in_dim(cache[0], new[0], places_T[0], 2),
      jax.lax.dynamic_update_slice_in_dim(cache[1], new[1], places_T[0], 1),
    )
    written_TxN = jnp.arange(cache[0].shape[-1])[None] <= places_T[:, None]
    query = self.self_attn.queries(y_BxTxD)
    y, _ = _attend_to(query, cache, written_TxN)
    x_BxTxD += self.self_attn.join(y)
    query = self.encoder_attn.queries(self.encoder_attn_layer_norm(x_BxTxD))
    # Rows of one clip, such as beams, are as queries of one row.
    clips = len(cross.key_RxKxN) // query.shape[2]
    y, weights_RxTxN = _attend_to(
      query.reshape(clips, -1, *query.shape[2:]), cross
    )
    # Kept only where somebody asks for it: see `whisper_words`.
    self.sow("intermediates", "cross_attention", weights_RxTxN)
    x_BxTxD += self.encoder_attn.join(y.reshape(query.shape))
    activation = ACTIVATIONS[self.config.activation_function]
    y_BxTxD = self.fc1(self.final_layer_norm(x_BxTxD))
    return x_BxTxD + self.fc2(activation(y_BxTxD)), cache


def _seen(key_BxTxHxK, value_BxTxHxK):
  batch, size, heads, units = key_BxTxHxK.shape
  return KeyValues(
    key_BxTxHxK.transpose(0, 2, 3, 1).reshape(batch * heads, units, size),
    value_BxTxHxK.transpose(0, 2, 1, 3).reshape(batch * heads, size, units),
  )


def _attend_to(query_BxTxHxK, seen, allowed_TxN=None):
  """Scaled dot-product attention to what is laid out for it.

  Gives [B, T, H, K], and the float32 weights [B * H, T, N].
  """
  batch, size, heads, units = query_BxTxHxK.shape
  dtype = query_BxTxHxK.dtype
  query = query_BxTxHxK.transpose(0, 2, 1, 3) * units**-0.5
  scores_RxTxN = jnp.matmul(
    query.reshape(-1, size, units),
    seen.key_RxKxN,
    preferred_element_type=jnp.float32,
  )
  if allowed_TxN is not None:
    scores_RxTxN = jnp.where(allowed_TxN[None], scores_RxTxN, _EXCLUDED)
  weights_RxTxN = nn.softmax(scores_RxTxN)
  y_RxTxK = jnp.matmul(
    weights_RxTxN.astype(dtype),
    seen.value_RxNxK,
    preferred_element_type=jnp.float32,
  )
  y_BxHxTxK = y_RxTxK.astype(dtype).reshape(batch, heads, size, units)
  return y_BxHxTxK.transpose(0, 2, 1, 3), weights_RxTxN
