"""The selection pass against a plain loop, and the policies' sizes."""

import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import special

from emojax.kernels import target
from emojax.models.selector import (
  PolicyNetwork,
  first_of,
  log_odds,
  observe,
  select,
  with_floor,
)

POLICIES = {
  "network": PolicyNetwork((8, 8, 4, 4)),
  "logistic": PolicyNetwork(()),
}


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_scan_is_a_plain_loop(name):
  policy = POLICIES[name]
  rng = np.random.default_rng(0)
  features = rng.normal(size=(50, 3)).astype(np.float32)
  order = rng.permutation(50)
  uniform = rng.random(50).astype(np.float32)
  params = jax.jit(policy.init)(jax.random.key(0), jnp.zeros((1, 6)))["params"]
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


# Each is passed over by one image at a time, and by blocks of 1,024.
PASSES = {
  "less than a block": (60, 0.5, 1.0),
  "a block": (1024, 0.5, 1.0),
  "two and a rest": (2100, 0.5, 1.0),
  "all stay": (1100, 0.0, 0.0),
  "none stays": (1100, 1.5, 0.0),
  "no chance": (1100, 0.5, 0.0),
}


@pytest.mark.parametrize("case", sorted(PASSES))
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_blocks_decide_what_one_image_after_the_other_does(
  name, case, monkeypatch
):
  """Also where a decision hangs on the mean of those before."""
  policy, (count, middle, spread) = POLICIES[name], PASSES[case]
  in_turn = jax.jit(select, static_argnums=0)
  in_blocks = jax.jit(lambda *args: select(policy, *args))
  decided = set()
  for seed in range(4):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 3)).astype(np.float32)
    order = rng.permutation(count)
    uniform = middle + spread * (rng.random(count).astype(np.float32) - 0.5)
    shape = jax.eval_shape(policy.init, jax.random.key(0), jnp.zeros((1, 6)))
    params = jax.tree.map(
      lambda x, rng=rng: rng.normal(size=x.shape).astype(np.float32), shape
    )["params"]
    operands = params, features, order, np.float32(uniform)
    monkeypatch.undo()
    want = in_turn(policy, *operands)
    monkeypatch.setattr(target, "platform", lambda: "gpu")
    found = in_blocks(*operands)
    np.testing.assert_array_equal(found.retained_N, want.retained_N)
    np.testing.assert_array_equal(found.state_NxK, want.state_NxK)
    np.testing.assert_allclose(
      found.probability_N, want.probability_N, atol=1e-4
    )
    decided |= set(np.asarray(want.retained_N).tolist())
  expected = {"all stay": {True}, "none stays": {False}}
  assert decided == expected.get(case, {True, False})


def test_five_layers():
  shapes = jax.eval_shape(
    PolicyNetwork().init, jax.random.key(0), jnp.zeros((1, 256))
  )["params"]
  assert len(shapes) == 5
  assert shapes["layer_0"]["kernel"].shape == (256, 256)
  assert shapes["output"]["kernel"].shape == (32, 1)


def test_what_the_policy_sees():
  """Features of a root mean square of one; a silent one stays silent."""
  rng = np.random.default_rng(0)
  features = 9 * rng.random((7, 3), np.float32)
  features[:, 1] = 0
  logits = rng.normal(size=(7, 4)).astype(np.float32)
  label = np.arange(7) % 4
  found, odds, scale = jax.jit(observe)(logits, features, label)
  np.testing.assert_array_equal(found[:, 1], 0)
  size = np.sqrt(np.mean(features**2, 0))
  np.testing.assert_allclose(np.ravel(scale)[::2], size[::2], rtol=1e-6)
  np.testing.assert_allclose(
    found[:, ::2], (features / (size + 1e-9))[:, ::2], rtol=1e-5
  )
  expected = torch.tensor(logits).softmax(1).numpy()[np.arange(7), label]
  np.testing.assert_allclose(odds, special.logit(expected), rtol=1e-5)


def test_small_loss_orders_those_whose_probability_is_one():
  """Beyond 17 nats all are 1 in float32, and came in the order of files."""
  logits = np.array([[18, 0, 0], [40, 0, 0], [0, 25, 0], [0, 0, 0]], np.float32)
  label = np.array([0, 0, 1, 2])
  _, found, _ = observe(logits, np.ones((4, 2), np.float32), label)
  assert (jax.nn.sigmoid(found)[:3] == 1).all()
  expected = np.array([18, 40, 25, 0]) - np.log(2)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert np.flatnonzero(first_of(found, 2)).tolist() == [1, 2]
  # As well of log-probabilities.
  again = log_odds(jax.nn.log_softmax(logits), label)
  np.testing.assert_allclose(again, expected, rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_the_first_are_retained(count):
  score = np.array([0.3, 0.9, 0.1, 0.9, -0.2, 0.5, 0.3])
  found = np.asarray(first_of(jnp.asarray(score), count))
  # Of equals the first.
  best = sorted(range(7), key=lambda i: (-score[i], i))[:count]
  assert np.flatnonzero(found).tolist() == sorted(best)


@pytest.mark.parametrize("floor", ["0.01", "0.1", "0.3", "0.7", "0.99"])
def test_a_share_of_each_class_is_retained(floor):
  rng = np.random.default_rng(0)
  label = rng.permutation(np.repeat(np.arange(5), (50, 30, 10, 1, 0)))
  probability = rng.random(len(label)).astype(np.float32)
  # A class is retained, others mostly or entirely not.
  threshold = np.array([0.0, 0.9, 0.5, 1.0, 1.0])
  retained = probability >= threshold[label]
  found = np.asarray(
    jax.jit(with_floor, static_argnums=(3, 4))(
      retained, probability, label, 5, float(floor)
    )
  )
  assert found[retained].all()
  for index in range(5):
    rows = np.flatnonzero(label == index)
    least = math.ceil(fractions.Fraction(floor) * len(rows))
    assert found[rows].sum() == max(retained[rows].sum(), least)
    back = rows[found[rows] & ~retained[rows]]
    gone = rows[~found[rows]]
    if len(back) and len(gone):
      assert probability[back].min() >= probability[gone].max()


def test_an_image_is_not_retained_for_another_class():
  label = np.array([0, 0, 0, 1])
  found = with_floor(
    jnp.zeros(4, bool), jnp.array([0.4, 0.3, 0.2, 0.01]), label, 2, 0.3
  )
  assert found.tolist() == [True, False, False, True]
