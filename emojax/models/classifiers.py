"""The two classifiers of a domain adversarial network."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax import ops


class EmotionClassifier(nn.Module):
  """Linear: [N, K] to logits [N, C]."""

  num_classes: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_NxK: jax.Array) -> jax.Array:
    logits_NxC = nn.Dense(self.num_classes, dtype=self.dtype, name="output")(
      x_NxK
    )
    return logits_NxC.astype(jnp.float32)


class DomainClassifier(nn.Module):
  """One hidden layer with ReLU behind a gradient reversal layer.

  Source: Lian et al. 2020, section 2.3; the paper does not give the shape.
  """

  num_domains: int
  hidden: int = 100
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, x_NxK: jax.Array, reversal_scale: jax.Array | float
  ) -> jax.Array:
    """Returns logits [N, S]; `reversal_scale` is lambda of Eq. (5)."""
    x_NxK = ops.gradient_reversal(x_NxK, reversal_scale)
    x_NxK = nn.Dense(self.hidden, dtype=self.dtype, name="hidden_layer")(x_NxK)
    logits_NxS = nn.Dense(self.num_domains, dtype=self.dtype, name="output")(
      nn.relu(x_NxK)
    )
    return logits_NxS.astype(jnp.float32)
