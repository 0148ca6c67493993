"""The selection pass against a plain loop, and the policies' sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.models.selector import LogisticPolicy, PolicyNetwork, select

POLICIES = {
  "network": PolicyNetwork((8, 8, 4, 4)),
  "logistic": LogisticPolicy(),
}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_scan_is_a_plain_loop(name):
  policy = POLICIES[name]
  rng = np.random.default_rng(0)
  features = rng.normal(size=(50, 3)).astype(np.float32)
  order = rng.permutation(50)
  uniform = rng.random(50).astype(np.float32)
  params = policy.init(jax.random.key(0), jnp.zeros((1, 6)))["params"]
  found = jax.jit(select, static_argnums=0)(
    policy, params, features, order, uniform
  )
  logit = jax.jit(lambda state: policy.apply({"params": params}, state)[0])
  kept = []
  for index in order:
    mean = np.mean(kept, axis=0) if kept else np.zeros(3)
    state = np.concatenate([features[index], mean]).astype(np.float32)
    probability = 1 / (1 + np.exp(-float(logit(state[None]))))
    np.testing.assert_allclose(found.state_NxK[index], state, atol=1e-5)
    assert found.probability_N[index] == pytest.approx(probability, abs=1e-5)
    retained = probability >= uniform[index]
    assert bool(found.retained_N[index]) == retained
    if retained:
      kept.append(features[index])
  assert 0 < len(kept) < 50


def test_five_layers():
  shapes = jax.eval_shape(
    PolicyNetwork().init, jax.random.key(0), jnp.zeros((1, 256))
  )["params"]
  assert len(shapes) == 5
  assert shapes["layer_0"]["kernel"].shape == (256, 256)
  assert shapes["output"]["kernel"].shape == (32, 1)
