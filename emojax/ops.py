"""Pure functions on arrays: gradient reversal."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gradient_reversal(x, scale):
  """Passes `x` on; multiplies its gradient by `-scale` on the way back.

  Source: Ganin & Lempitsky 2015, "Unsupervised domain adaptation by
  backpropagation", Eqs. (14)-(15). The scalar `scale`, lambda there, may be
  traced; its gradient is zero.
  """
  del scale
  return x


def _backward(scale, grad):
  scale = jnp.asarray(scale)
  return -scale.astype(grad.dtype) * grad, jnp.zeros_like(scale)


gradient_reversal.defvjp(lambda x, scale: (x, scale), _backward)
