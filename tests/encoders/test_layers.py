"""Activations against PyTorch's."""

import jax
import numpy as np
import pytest
import torch

from emojax.encoders.layers import ACTIVATIONS


@pytest.mark.parametrize(
  ("name", "reference"),
  [
    ("gelu", torch.nn.functional.gelu),
    ("gelu_new", lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    ("relu", torch.nn.functional.relu),
  ],
)
def test_activations_and_their_slopes(name, reference):
  x = np.linspace(-8, 8, 1001, dtype=np.float32)
  tensor = torch.tensor(x, requires_grad=True)
  want = reference(tensor)
  want.sum().backward()
  found, slopes = jax.vmap(jax.value_and_grad(ACTIVATIONS[name]))(x)
  np.testing.assert_allclose(found, want.detach(), atol=5e-6)
  np.testing.assert_allclose(slopes, tensor.grad, atol=2e-5)
