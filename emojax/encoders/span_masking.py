"""Spans of a sequence that are hidden in training."""

import jax
import jax.numpy as jnp


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
