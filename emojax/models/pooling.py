"""From a sequence of states to what a classifier reads."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


class AttentionPooling(nn.Module):
  """A weighted mean of the frames, the weights by a linear score of each.

  The published speech emotion classifier: score = Linear(D, 1), softmax over
  the valid frames only.
  """

  @nn.compact
  def __call__(
    self, x_BxTxD: jax.Array, mask_BxT: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Pools each sequence to float32 [B, D], with the weights [B, T].

    States may be anything where the mask is false; no frame at all gives zero.
    """
    score = nn.Dense(1, dtype=jnp.float32, name="score")
    score_BxT = score(x_BxTxD.astype(jnp.float32))[..., 0]
    # Not minus infinity: a sequence without a frame would become NaN.
    weight_BxT = nn.softmax(jnp.where(mask_BxT, score_BxT, -1e30))
    weight_BxT = jnp.where(mask_BxT, weight_BxT, 0)
    return _weighted_sum(x_BxTxD, weight_BxT, mask_BxT), weight_BxT


class MeanPooling(nn.Module):
  """The mean of the valid frames."""

  @nn.compact
  def __call__(
    self, x_BxTxD: jax.Array, mask_BxT: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """See `AttentionPooling`."""
    count_Bx1 = mask_BxT.sum(-1, keepdims=True)
    weight_BxT = mask_BxT / jnp.maximum(count_Bx1, 1).astype(jnp.float32)
    return _weighted_sum(x_BxTxD, weight_BxT, mask_BxT), weight_BxT


class WeightedLayerSum(nn.Module):
  """A learned average of an encoder's hidden states.

  Yang et al. 2021, "SUPERB", section 2.2: softmax over one weight a layer. All
  layers count alike at first.
  """

  @nn.compact
  def __call__(self, hidden_states: Sequence[jax.Array]) -> jax.Array:
    """Averages L arrays [B, T, D] to one, in their type."""
    logits_L = self.param("weights", nn.initializers.zeros, len(hidden_states))
    weights_L = nn.softmax(logits_L).astype(hidden_states[0].dtype)
    return jnp.einsum("l,lbtd->btd", weights_L, jnp.stack(hidden_states))


POOLINGS = {"attention": AttentionPooling, "mean": MeanPooling}


def _weighted_sum(x_BxTxD, weight_BxT, mask_BxT):
  # Of frames that do not count not even a NaN may come through.
  x_BxTxD = jnp.where(mask_BxT[..., None], x_BxTxD.astype(jnp.float32), 0)
  return jnp.einsum("bt,btd->bd", weight_BxT, x_BxTxD)
