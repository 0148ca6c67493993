"""Dense layers, norms, dropout, activations as all encoders have them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels.products import product


def dense(
  features: int, dtype: Any, name: str | None = None, use_bias: bool = True
) -> nn.Dense:
  """A dense layer as the checkpoints' are drawn before they are trained."""
  return nn.Dense(
    features,
    dtype=dtype,
    kernel_init=nn.initializers.normal(0.02),
    dot_general=product,
    use_bias=use_bias,
    name=name,
  )


def layer_norm(
  epsilon: float, dtype: Any, name: str | None = None
) -> nn.LayerNorm:
  """A layer norm; the fast variance, E[x^2] - E[x]^2, would not be exact."""
  return nn.LayerNorm(epsilon, dtype, use_fast_variance=False, name=name)


def dropout(rate: float, train: bool) -> nn.Dropout:
  """Dropout that is active in training."""
  return nn.Dropout(rate, deterministic=not train)


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
  """x Phi(x) by the error function, which XLA computes faster than erfc."""
  return x * _normal_cdf(x)


@gelu.defjvp
def _gelu_jvp(primals, tangents):
  # Written out, so that the backward pass needs x alone.
  (x,), (tangent,) = primals, tangents
  density = jnp.exp(-0.5 * x * x) * (0.5 / math.sqrt(math.pi / 2))
  return gelu(x), tangent * (_normal_cdf(x) + x * density)


def _normal_cdf(x):
  return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


# By the names that published configs have for them.
ACTIVATIONS = {"gelu": gelu, "gelu_new": nn.gelu, "relu": nn.relu}
