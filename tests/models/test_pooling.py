"""Pooling against its definition."""

import jax
import jax.numpy as jnp
import numpy as np

from emojax.models.speech_classifier import WeightedLayerSum


def test_weighted_layer_sum():
  states = jax.random.normal(jax.random.key(0), (3, 2, 5, 4))
  model = WeightedLayerSum()
  variables = model.init(jax.random.key(1), tuple(states))
  equal = model.apply(variables, tuple(states))
  np.testing.assert_allclose(equal, states.mean(0), atol=1e-6)
  logits = jnp.array([0.0, jnp.log(2.0), jnp.log(5.0)])
  found = model.apply({"params": {"weights": logits}}, tuple(states))
  want = (states[0] + 2 * states[1] + 5 * states[2]) / 8
  np.testing.assert_allclose(found, want, atol=1e-6)

  def total(params):
    return model.apply({"params": params}, tuple(states)).sum()

  # Of a softmax: weight times what a layer has above the average.
  weights = np.array([1, 2, 5]) / 8
  sums = np.asarray(states.sum((1, 2, 3)))
  gradient = jax.grad(total)({"weights": logits})["weights"]
  want = weights * (sums - weights @ sums)
  np.testing.assert_allclose(gradient, want, rtol=1e-4)
