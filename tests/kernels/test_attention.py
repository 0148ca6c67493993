"""Both attentions against PyTorch's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emojax.kernels.attention import attend, segment_attention


@pytest.fixture
def rng():
  return np.random.default_rng(0)


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

  @jax.jit
  def ours(*arrays):
    got, pullback = jax.vjp(
      lambda query, key, value: segment_attention(query, key, value, segment),
      *arrays,
    )
    return got, pullback(jnp.asarray(weights))

  got, grads = ours(*(x.detach().numpy() for x in tensors))
  np.testing.assert_allclose(got, want.detach(), atol=1e-6)
  for grad, tensor in zip(grads, tensors, strict=True):
    np.testing.assert_allclose(grad, tensor.grad, rtol=1e-4, atol=1e-6)


def test_segment_attention_survives_large_logits(rng):
  x = jnp.asarray(rng.normal(size=(1, 1, 4, 3)) * 100, jnp.float32)
  segment = jnp.array([[1, 1, 2, 0]])

  def loss(x):
    return segment_attention(x, x, x, segment).sum()

  chex.assert_tree_all_finite(jax.jit(jax.value_and_grad(loss))(x))


def test_dropped_attention_keeps_its_mean():
  """Dropout scales what it keeps: the mean over many draws is the whole."""
  key = jax.random.key(0)
  query, keys, values = jax.random.normal(key, (3, 1, 5, 2, 8))
  draws = jax.jit(
    jax.vmap(lambda key: attend(query, keys, values, None, None, 0.3, key))
  )(jax.random.split(key, 4000))
  whole = jax.jit(attend)(query, keys, values)
  np.testing.assert_allclose(draws.mean(0), whole, atol=0.05)
  want = torch.nn.functional.scaled_dot_product_attention(
    *(
      torch.tensor(np.asarray(x)).transpose(1, 2) for x in (query, keys, values)
    )
  )
  np.testing.assert_allclose(whole, want.transpose(1, 2), atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_blocks_and_its_gradients(rng, masked):
  """As many weights as are not kept: blocks, the last one not full."""
  shape = 2, 395, 2, 8
  operands = rng.normal(size=(4, *shape)).astype(np.float32)
  mask = np.arange(shape[1])[None] < np.array([[395], [301]])
  mask = mask if masked else None

  def loss(query, keys, values):
    return (attend(query, keys, values, mask) * operands[3]).sum()

  grads = jax.jit(jax.grad(loss, (0, 1, 2)))(*operands[:3])
  found = jax.jit(attend)(*operands[:3], mask)
  tensors = [torch.tensor(x, requires_grad=True) for x in operands[:3]]
  want = torch.nn.functional.scaled_dot_product_attention(
    *(x.transpose(1, 2) for x in tensors),
    None if mask is None else torch.tensor(mask)[:, None, None],
  ).transpose(1, 2)
  (want * torch.tensor(operands[3])).sum().backward()
  np.testing.assert_allclose(found, want.detach(), atol=1e-5)
  for grad, tensor in zip(grads, tensors, strict=True):
    np.testing.assert_allclose(grad, tensor.grad, atol=1e-4)
