"""Products, of many rows as convolutions of width one, against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.encoders.layers import dense
from emojax.kernels import products


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


@pytest.mark.parametrize("num_runs", [1, 3, 300])  # The last ones together.
@pytest.mark.parametrize("is_shared", [True, False])
def test_feature_major_of_runs_and_its_gradients(num_runs, is_shared):
  rng = np.random.default_rng(0)
  kernel_RxKxD = rng.normal(size=(num_runs, 5, 6)).astype(np.float32)
  x_RxNxD = rng.normal(size=(num_runs, 7, 6)).astype(np.float32)
  weights_RxKxN = rng.normal(size=(num_runs, 5, 7)).astype(np.float32)
  if is_shared:
    x_RxNxD[:] = x_RxNxD[0]

  def loss(kernel, x, weights):
    y_KxN = products.feature_major(kernel, x)
    return (y_KxN * weights).sum(), y_KxN

  gradients = jax.grad(loss, (0, 1), has_aux=True)
  axes = 0, None if is_shared else 0, 0
  x = x_RxNxD[0] if is_shared else x_RxNxD
  (of_kernel, of_x), y_RxKxN = jax.jit(jax.vmap(gradients, axes))(
    kernel_RxKxD, x, weights_RxKxN
  )
  np.testing.assert_allclose(
    y_RxKxN, kernel_RxKxD @ x_RxNxD.swapaxes(1, 2), atol=1e-4
  )
  np.testing.assert_allclose(of_kernel, weights_RxKxN @ x_RxNxD, atol=1e-4)
  expected = weights_RxKxN.swapaxes(1, 2) @ kernel_RxKxD
  np.testing.assert_allclose(of_x, expected, atol=1e-4)
