import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import ops


@pytest.fixture
def rng():
  return np.random.default_rng(0)


@pytest.mark.parametrize("scale", [0.0, 0.3, 2.0])
def test_gradient_reversal_flips_and_scales(scale, rng):
  x = jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)
  weights = jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)

  def loss(x, scale):
    return (weights * ops.gradient_reversal(x, scale)).sum()

  chex.assert_trees_all_equal(ops.gradient_reversal(x, scale), x)
  grad_x, grad_scale = jax.jit(jax.grad(loss, (0, 1)))(x, scale)
  chex.assert_trees_all_close(grad_x, -scale * weights, rtol=1e-6)
  assert grad_scale == 0


def test_gradient_reversal_takes_a_scale_for_each_run():
  scales = jnp.array([0.0, 1.0, 3.0])
  grads = jax.vmap(
    jax.grad(lambda x, scale: ops.gradient_reversal(x, scale) ** 2),
    in_axes=(None, 0),
  )(2.0, scales)
  chex.assert_trees_all_close(grads, -4.0 * scales)
