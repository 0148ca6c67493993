"""Winograd convolutions against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from emojax.kernels import winograd


@pytest.mark.parametrize(
  ("batch", "height", "width"), [(3, 12, 12), (2, 6, 6), (2, 7, 13), (1, 1, 2)]
)
def test_equals_pytorch_with_gradients(batch, height, width):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(batch, height, width, 5)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 5, 7)).astype(np.float32)
  upstream = rng.normal(size=(batch, height, width, 7)).astype(np.float32)

  theirs_x, theirs_kernel = (
    torch.tensor(values, dtype=torch.float64, requires_grad=True)
    for values in (x, kernel)
  )
  want = torch.conv2d(
    theirs_x.permute(0, 3, 1, 2), theirs_kernel.permute(3, 2, 0, 1), padding=1
  ).permute(0, 2, 3, 1)
  want.backward(torch.tensor(upstream, dtype=torch.float64))

  @jax.jit
  def ours(x, kernel, upstream):
    found, transpose = jax.vjp(winograd.convolution, x, kernel)
    return found, *transpose(upstream)

  for value, expected in zip(
    ours(x, kernel, upstream),
    (want, theirs_x.grad, theirs_kernel.grad),
    strict=True,
  ):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(value, expected, atol=3e-5 * expected.max())


def convolution_of(dtype, channels):
  """A layer with the function, and without it, on the same numbers."""
  x = jax.random.normal(jax.random.key(0), (2, 8, 8, channels), dtype)
  outputs = []
  for function in (winograd.conv_general_dilated, None):
    layer = nn.Conv(
      8, (3, 3), padding=1, dtype=dtype, conv_general_dilated=function
    )
    output, _ = jax.jit(layer.init_with_output)(jax.random.key(1), x)
    outputs.append(np.asarray(output, np.float32))
  return outputs


def test_layer_computes_the_same_in_another_way():
  ours, plain = convolution_of(jnp.float32, 64)
  np.testing.assert_allclose(ours, plain, atol=1e-4)
  assert (ours != plain).any()


@pytest.mark.parametrize(
  ("dtype", "channels"), [(jnp.bfloat16, 64), (jnp.float32, 1)]
)
def test_leaves_low_precision_and_few_channels_alone(dtype, channels):
  np.testing.assert_array_equal(*convolution_of(dtype, channels))
