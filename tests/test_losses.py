import chex
import jax
import jax.numpy as jnp
import numpy as np
import torch

from emojax import losses


def test_masked_cross_entropy_agrees_with_pytorch():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(8, 4)).astype(np.float32) * 5
  labels = rng.integers(0, 4, 8)
  mask = np.array([1, 0, 1, 1, 0, 1, 1, 1], bool)
  tensor = torch.tensor(logits, requires_grad=True)
  want = torch.nn.functional.cross_entropy(
    tensor[mask], torch.tensor(labels)[mask]
  )
  want.backward()
  # What the mask hides does not count, not even through its gradient.
  logits[1], labels[4] = np.nan, -1
  got, grad = jax.value_and_grad(losses.masked_cross_entropy)(
    jnp.asarray(logits), labels, mask
  )
  np.testing.assert_allclose(got, want.detach(), rtol=1e-6)
  np.testing.assert_allclose(grad, tensor.grad, rtol=1e-5, atol=1e-7)


def test_masked_cross_entropy_of_nothing_is_zero():
  loss, grad = jax.value_and_grad(losses.masked_cross_entropy)(
    jnp.ones((3, 2)), jnp.zeros(3, jnp.int32), jnp.zeros(3)
  )
  assert loss == 0
  chex.assert_trees_all_equal(grad, jnp.zeros((3, 2)))


def test_masked_cross_entropy_is_float32_whatever_the_logits():
  loss = losses.masked_cross_entropy(
    jnp.array([[100.0, 0.0]], jnp.bfloat16), jnp.array([1]), jnp.array([True])
  )
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, 100.0)
