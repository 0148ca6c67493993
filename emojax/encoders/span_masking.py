"""Spans of a sequence that are hidden in training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def masked(
  x_BxTxD: jax.Array,
  lengths_B: jax.Array,
  config: Any,
  draw_key: Callable[[], jax.Array],
  fill: jax.Array | float = 0.0,
) -> jax.Array:
  """Hides spans of steps as `fill`, and then of features as zeros.

  After SpecAugment (Park et al. 2019), as Hugging Face's models do it.

  Args:
    x_BxTxD: sequences of `lengths_B` steps each.
    config: of the encoder, with `mask_time_prob`, `mask_feature_length` and so
      on; nothing is drawn for what has probability 0.
    draw_key: gives new randomness each time.
    fill: a value, or an array [1, 1, D].
  """
  batch, size, width = x_BxTxD.shape
  if config.mask_time_prob > 0:
    hidden_BxT = spans(
      *(draw_key(), lengths_B, size),
      *(config.mask_time_prob, config.mask_time_length),
      config.mask_time_min_masks,
    )
    x_BxTxD = jnp.where(hidden_BxT[..., None], fill, x_BxTxD)
  if config.mask_feature_prob > 0:
    hidden_BxD = spans(
      *(draw_key(), jnp.full(batch, width), width),
      *(config.mask_feature_prob, config.mask_feature_length),
      config.mask_feature_min_masks,
    )
    x_BxTxD = jnp.where(hidden_BxD[:, None], 0, x_BxTxD)
  return x_BxTxD


def spans(
  key: jax.Array,
  lengths_B: jax.Array,
  size: int,
  probability: float,
  width: int,
  min_spans: int,
) -> jax.Array:
  """Draws spans as wav2vec 2.0 does (Baevski et al. 2020, section 3.1).

  Each sequence gets `probability * length / width` spans, rounded up or down at
  random, that start at different places and may overlap.

  Args:
    key: randomness.
    lengths_B: of the sequences, of at most `size` = T; no span leaves its own.
    probability: share of the positions that would be hidden without overlaps.
    width: positions in a span.
    min_spans: spans that every sequence gets, if they fit.

  Returns:
    bool [B, T], true where hidden.
  """
  rounding_key, start_key = jax.random.split(key)
  rounding = jax.random.uniform(rounding_key)
  num_starts_B = jnp.maximum(lengths_B - (width - 1), 0)
  wanted_B = (probability * lengths_B / width + rounding).astype(jnp.int32)
  wanted_B = jnp.maximum(wanted_B, min_spans)
  wanted_B = jnp.minimum(wanted_B, jnp.minimum(num_starts_B, size // width))
  draws = jax.random.uniform(start_key, (lengths_B.shape[0], size))
  places = jnp.arange(size)[None]
  draws = jnp.where(places < num_starts_B[:, None], draws, 2.0)
  ranks = draws.argsort(axis=-1).argsort(axis=-1)
  starts = (ranks < wanted_B[:, None]).astype(jnp.int32)
  started = starts.cumsum(axis=-1)
  ended = jnp.pad(started, ((0, 0), (width, 0)))[:, :size]
  return started > ended
