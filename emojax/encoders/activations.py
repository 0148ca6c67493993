"""Activations by the names that published configs have for them."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn


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


ACTIVATIONS = {"gelu": gelu, "gelu_new": nn.gelu, "relu": nn.relu}
