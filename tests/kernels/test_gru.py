"""The packed GRU against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emojax.kernels.gru import gru


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def test_gru_and_its_gradients_agree_with_pytorch(rng):
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
