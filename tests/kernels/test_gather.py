"""Rows by their numbers against plain indexing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.kernels.gather import gather_rows


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def test_gather_rows_and_its_gradient_agree_with_indexing(rng):
  x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
  source = jnp.array([3, 5, 0, 4, 5, 5, 1])  # Row 2 is not used.
  target = jnp.array([2, 6, 7, 0, 3])
  weights = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)

  def plain(x):
    return jnp.concatenate([x, jnp.zeros((1, 3))])[source]

  got, pullback = jax.vjp(lambda x: gather_rows(x, source, target), x)
  want, plain_pullback = jax.vjp(plain, x)
  chex.assert_trees_all_equal(got, want)
  chex.assert_trees_all_equal(pullback(weights), plain_pullback(weights))
