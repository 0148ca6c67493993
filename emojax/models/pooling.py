"""From a sequence of states to what a classifier reads."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


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
