import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

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


def test_gather_rows_and_its_gradient_agree_with_indexing(rng):
  x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
  source = jnp.array([3, 5, 0, 4, 5, 5, 1])  # Row 2 is not used.
  target = jnp.array([2, 6, 7, 0, 3])
  weights = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)

  def plain(x):
    return jnp.concatenate([x, jnp.zeros((1, 3))])[source]

  got, pullback = jax.vjp(lambda x: ops.gather_rows(x, source, target), x)
  want, plain_pullback = jax.vjp(plain, x)
  chex.assert_trees_all_equal(got, want)
  chex.assert_trees_all_equal(pullback(weights), plain_pullback(weights))


def test_gru_and_its_gradients_agree_with_pytorch(rng):
  time, rows, units = 7, 3, 5
  gru = torch.nn.GRU(4, units)
  x = torch.randn(
    time, rows, 4, generator=torch.Generator().manual_seed(0)
  ).requires_grad_()
  weights = rng.normal(size=(time, rows, units)).astype(np.float32)
  # Row 1 holds two sequences; the second begins at position 3.
  keep = np.ones((time, rows), np.float32)
  keep[0], keep[3, 1] = 0, 0

  first, _ = gru(x[:3])
  state = first[-1:] * torch.tensor(keep[3])[None, :, None]
  second, _ = gru(x[3:], state)
  want = torch.cat([first, second])
  (want * torch.tensor(weights)).sum().backward()

  def loss(x, input_kernel, input_bias, kernel, bias):
    inputs = jnp.einsum("tbi,gi->tbg", x, input_kernel)
    inputs += input_bias[None, None]
    states = ops.gru(
      inputs[:, None], keep[:, None], kernel.T[None], bias[None]
    )[:, 0]
    return (states * weights).sum(), states

  arguments = [
    jnp.asarray(tensor.detach().numpy())
    for tensor in (
      x, gru.weight_ih_l0, gru.bias_ih_l0, gru.weight_hh_l0, gru.bias_hh_l0
    )
  ]  # fmt: skip
  grads, states = jax.grad(loss, range(5), has_aux=True)(*arguments)
  np.testing.assert_allclose(states, want.detach(), atol=1e-6)
  for got, tensor in zip(
    grads,
    (x, gru.weight_ih_l0, gru.bias_ih_l0, gru.weight_hh_l0, gru.bias_hh_l0),
    strict=True,
  ):
    np.testing.assert_allclose(got, tensor.grad, rtol=1e-4, atol=1e-5)


def test_segment_attention_and_its_gradients_agree_with_pytorch(rng):
  heads, rows, time, width = 2, 2, 6, 3
  segment = np.array([[1, 1, 1, 2, 2, 0], [1, 0, 0, 0, 0, 0]], np.int32)
  tensors = [
    torch.tensor(
      rng.normal(size=(heads, rows, time, width)).astype(np.float32),
      requires_grad=True,
    )
    for _ in range(3)
  ]
  weights = rng.normal(size=(heads, rows, time, width)).astype(np.float32)
  want = torch.zeros(heads, rows, time, width)
  for row, start, stop in ((0, 0, 3), (0, 3, 5), (1, 0, 1)):
    query, key, value = (x[:, row, start:stop] for x in tensors)
    probability = torch.softmax(query @ key.mT, -1)
    want[:, row, start:stop] = probability @ value
  (want * torch.tensor(weights)).sum().backward()

  got, pullback = jax.vjp(
    lambda query, key, value: ops.segment_attention(query, key, value, segment),
    *(jnp.asarray(x.detach().numpy()) for x in tensors),
  )
  np.testing.assert_allclose(got, want.detach(), atol=1e-6)
  for grad, tensor in zip(pullback(jnp.asarray(weights)), tensors, strict=True):
    np.testing.assert_allclose(grad, tensor.grad, rtol=1e-4, atol=1e-6)


def test_segment_attention_survives_large_logits(rng):
  x = jnp.asarray(rng.normal(size=(1, 1, 4, 3)) * 100, jnp.float32)
  segment = jnp.array([[1, 1, 2, 0]])

  def loss(x):
    return ops.segment_attention(x, x, x, segment).sum()

  chex.assert_tree_all_finite(jax.value_and_grad(loss)(x))
