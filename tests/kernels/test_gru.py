"""The packed GRU against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emojax.kernels import target
from emojax.kernels.gru import gru


@pytest.fixture
def rng():
  return np.random.default_rng(0)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_gru_and_its_gradients_agree_with_pytorch(rng, platform, monkeypatch):
  monkeypatch.setattr(target, "platform", lambda: platform)
  time, rows, units = 7, 3, 5
  reference = torch.nn.GRU(4, units)
  x = torch.randn(
    time, rows, 4, generator=torch.Generator().manual_seed(0)
  ).requires_grad_()
  weights = rng.normal(size=(time, rows, units)).astype(np.float32)
  # Row 1 holds two sequences; the second begins at position 3.
  keep = np.ones((time, rows), np.float32)
  keep[0], keep[3, 1] = 0, 0

  first, _ = reference(x[:3])
  state = first[-1:] * torch.tensor(keep[3])[None, :, None]
  second, _ = reference(x[3:], state)
  want = torch.cat([first, second])
  (want * torch.tensor(weights)).sum().backward()

  def loss(x, input_kernel, kernel, input_bias, bias):
    inputs = jnp.einsum("tbi,gi->tbg", x, input_kernel)
    inputs += input_bias[None, None]
    states = gru(inputs[:, None], keep[:, None], kernel.T[None], bias[None])[
      :, 0
    ]
    return (states * weights).sum(), states

  tensors = (x, *reference.parameters())
  grads, states = jax.grad(loss, range(5), has_aux=True)(
    *(jnp.asarray(tensor.detach().numpy()) for tensor in tensors)
  )
  np.testing.assert_allclose(states, want.detach(), atol=1e-6)
  for got, tensor in zip(grads, tensors, strict=True):
    np.testing.assert_allclose(got, tensor.grad, rtol=1e-4, atol=1e-5)


def test_only_states_are_sequential_on_a_gpu(monkeypatch):
  """Two loops for CUDA, of many runs as of one; all else is in bulk."""
  monkeypatch.setattr(target, "platform", lambda: "gpu")
  runs, time, directions, rows, units = 2, 30, 2, 4, 8
  operands = [
    jnp.zeros((runs, time, directions, rows, 3 * units)),
    jnp.ones((time, directions, rows)),
    jnp.zeros((runs, directions, units, 3 * units)),
    jnp.zeros((runs, directions, 3 * units)),
  ]

  def loss(*operands):
    return jax.vmap(gru, in_axes=(0, None, 0, 0))(*operands).sum()

  traced = jax.jit(jax.grad(loss, (0, 2, 3))).trace(*operands)
  text = traced.lower(lowering_platforms=("cuda",)).as_text()
  assert text.count("stablehlo.while") == 2
