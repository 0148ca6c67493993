"""Both attentions against PyTorch's."""

import functools
import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax._src.cudnn import fused_attention_stablehlo

from emojax.kernels import target
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


@pytest.fixture
def gpu(monkeypatch):
  """A GPU with cuDNN 9.14, as far as programs are traced and lowered."""
  monkeypatch.setattr(target, "platform", lambda: "gpu")
  monkeypatch.setattr(
    fused_attention_stablehlo, "check_cudnn_version", lambda: 91400
  )


@pytest.mark.parametrize(
  ("frames", "masked", "biased", "trains"),
  list(itertools.product((249, 250), *[(False, True)] * 3)),
)
def test_cudnn_takes_whatever_encoders_ask(gpu, frames, masked, biased, trains):
  """In half precision; 5 s are 249 frames, of which training took none."""
  rows, heads = 4, 12
  operands = [jnp.zeros((rows, frames, heads, 64), jnp.bfloat16)] * 3
  mask = jnp.ones((rows, frames), bool) if masked else None
  bias = jnp.zeros((rows, heads, frames, frames)) if biased else None

  def loss(*operands):
    return attend(*operands, mask, bias).astype(jnp.float32).sum()

  program = jax.grad(loss, (0, 1, 2)) if trains else loss
  traced = jax.jit(program).trace(*operands)
  text = traced.lower(lowering_platforms=("cuda",)).as_text()
  forward = "ScaleBiasSoftmax" if biased else "Softmax"
  names = {f"__cudnn$fmha{forward}"}
  names |= {f"__cudnn$fmha{forward}Backward"} if trains else set()
  assert set(re.findall(r"__cudnn\$\w+", text)) == names


@pytest.mark.parametrize("queries", [1, 13])
def test_what_cudnn_is_given_means_the_same(gpu, rng, monkeypatch, queries):
  """Lengths in the place of the mask, and zeros behind: by JAX's own rules."""
  whole = jax.nn.dot_product_attention
  monkeypatch.setattr(
    jax.nn,
    "dot_product_attention",
    lambda *args, implementation, **more: whole(
      *args, implementation="xla", **more
    ),
  )
  keys = 11
  query = rng.normal(size=(2, queries, 3, 8))
  key, value = rng.normal(size=(2, 2, keys, 3, 8))
  bias = rng.normal(size=(2, 3, queries, keys))
  mask = np.arange(keys)[None] < np.array([[11], [4]])
  half = functools.partial(jnp.asarray, dtype=jnp.bfloat16)
  found = attend(half(query), half(key), half(value), mask, jnp.float32(bias))
  tensors = [
    torch.tensor(np.asarray(half(x), np.float32)) for x in (query, key)
  ]
  tensors.append(torch.tensor(np.asarray(half(value), np.float32)))
  want = torch.nn.functional.scaled_dot_product_attention(
    *(x.transpose(1, 2) for x in tensors),
    torch.tensor(np.where(mask[:, None, None], bias, -np.inf)).float(),
  ).transpose(1, 2)
  np.testing.assert_allclose(np.asarray(found, np.float32), want, atol=0.05)
