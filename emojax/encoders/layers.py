"""Dense layers, norms and dropout as all encoders have them."""

from typing import Any

from flax import linen as nn

from emojax.kernels.products import product


def dense(features: int, dtype: Any, name: str) -> nn.Dense:
  """A dense layer as the checkpoints' are drawn before they are trained."""
  return nn.Dense(
    features,
    dtype=dtype,
    kernel_init=nn.initializers.normal(0.02),
    dot_general=product,
    name=name,
  )


def layer_norm(epsilon: float, dtype: Any, name: str) -> nn.LayerNorm:
  """A layer norm; the fast variance, E[x^2] - E[x]^2, would not be exact."""
  return nn.LayerNorm(epsilon, dtype, use_fast_variance=False, name=name)


def dropout(rate: float, train: bool) -> nn.Dropout:
  """Dropout that is active in training."""
  return nn.Dropout(rate, deterministic=not train)
