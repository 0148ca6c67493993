"""Activations by the names that published configs have for them."""

import math

import jax
from flax import linen as nn


def gelu(x: jax.Array) -> jax.Array:
  """x Phi(x) by the error function, which XLA computes faster than erfc."""
  return 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5)))


ACTIVATIONS = {"gelu": gelu, "gelu_new": nn.gelu, "relu": nn.relu}
