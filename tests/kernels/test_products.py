"""Products, of many rows as convolutions of width one, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.encoders.layers import dense


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 4, 6), (2, 600, 6)])
def test_dense_and_its_gradients(shape):
  x = jax.random.normal(jax.random.key(0), shape)
  layer = dense(7, jnp.float32, "layer")
  variables = jax.jit(layer.init)(jax.random.key(1), x)
  kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
  weights = jax.random.normal(jax.random.key(2), (*shape[:-1], 7))

  def loss(params, x):
    return (layer.apply({"params": params}, x) * weights).sum()

  found = jax.jit(layer.apply)(variables, x)
  want = np.asarray(x) @ np.asarray(kernel) + np.asarray(bias)
  np.testing.assert_allclose(found, want, atol=1e-5)
  of_params, of_x = jax.jit(jax.grad(loss, (0, 1)))(variables["params"], x)
  rows, gradient = (np.reshape(a, (-1, a.shape[-1])) for a in (x, weights))
  np.testing.assert_allclose(of_params["kernel"], rows.T @ gradient, atol=2e-4)
  np.testing.assert_allclose(of_params["bias"], gradient.sum(0), atol=2e-4)
  np.testing.assert_allclose(
    of_x, np.asarray(weights) @ np.asarray(kernel).T, atol=1e-4
  )
