"""Rewards by hand, and REINFORCE where every expectation can be counted."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emojax.models import selector
from emojax.models.selector import (
  PolicyNetwork,
  Selection,
  select,
)
from emojax.trainers import rlps
from emojax.trainers.rlps import Policy, update_policy


def probability_rewards(probability):
  nobody = jnp.zeros(len(probability), bool)
  return selector.rewards(selector.PROBABILITY, probability, nobody, 0.0)


def test_a_reward_is_how_much_surer_than_in_the_mean():
  found = probability_rewards(jnp.array([0.9, 0.5, 0.1, 0.3]))
  np.testing.assert_allclose(found, [0.45, 0.05, -0.35, -0.15], atol=1e-6)


def test_rewards_sum_to_zero_and_stay_in_their_bounds():
  probability = np.random.default_rng(0).beta(0.3, 0.3, 500)
  found = probability_rewards(jnp.asarray(probability))
  assert float(found.sum()) == pytest.approx(0, abs=1e-4)
  assert float(jnp.abs(found).max()) < 1
  # Whatever all of them have in common does not count.
  other = probability_rewards(jnp.asarray(0.5 * probability + 0.5))
  np.testing.assert_allclose(other, 0.5 * found, atol=1e-6)


def test_the_change_of_f1_is_everybodys_reward():
  found = selector.rewards(
    selector.F1, jnp.array([0.1, 0.9]), jnp.array([True, False]), -0.25
  )
  assert found.tolist() == [-0.25, -0.25]


def test_only_those_that_learn_a_policy_have_a_reward():
  kinds = (selector.PROBABILITY, selector.F1, selector.LIKELIHOOD)
  for one in rlps.SYSTEMS.values():
    assert (one.strategy == rlps.POLICY) == (one.reward in kinds)


def test_likelihood_of_what_is_retained():
  probability = jnp.array([0.5, 0.25, 0.125])

  def reward(*retained):
    return float(
      selector.log_likelihood(probability, jnp.array(retained, bool))
    )

  assert reward(1, 1, 1) == pytest.approx(0, abs=1e-6)
  assert reward(0, 0, 0) == 0
  # Logarithms to base 2 are -1, -2 and -3.
  assert reward(1, 0, 0) == pytest.approx(np.log(2), rel=1e-5)
  assert reward(1, 1, 0) == pytest.approx(0.5 * np.log(2), rel=1e-5)
  assert reward(0, 0, 1) == pytest.approx(-np.log(2), rel=1e-5)
  impossible = selector.log_likelihood(
    jnp.array([0.0, 1.0]), jnp.array([True, False])
  )
  assert -10 < float(impossible) < -9


@pytest.mark.parametrize(
  ("removed_credit", "expected"),
  [(1.0, [0.2, -0.3, 0.4]), (0.0, [0.2, 0, 0.4]), (-1.0, [0.2, 0.3, 0.4])],
)
def test_values_of_actions(removed_credit, expected):
  found = selector.action_values(
    jnp.array([0.2, -0.3, 0.4]),
    jnp.array([True, False, True]),
    removed_credit,
  )
  np.testing.assert_allclose(found, expected, rtol=1e-6)


TWO = np.array([0.3, -0.2], np.float32)  # Rewards of two images.
# All that can be done with them, [A, 2].
ACTIONS = np.array(list(itertools.product((False, True), repeat=2)))


def two_images(features):
  """A policy, and a pass over two images for each pair of actions."""
  policy = PolicyNetwork((12, 8))
  state = jnp.zeros((1, 2 * features.shape[1]))
  params = jax.jit(policy.init)(jax.random.key(3), state)["params"]

  def act(uniform):
    return select(policy, params, jnp.asarray(features), jnp.arange(2), uniform)

  # 0 retains whatever the probability is, and 2 removes.
  passes = jax.jit(jax.vmap(act))(np.where(ACTIONS, 0.0, 2.0))
  np.testing.assert_array_equal(passes.retained_N, ACTIONS)
  total = chances(passes.probability_N).sum()
  assert float(total) == pytest.approx(1, abs=1e-5)
  return policy, params, passes


def chances(probability):
  """How likely each pair of actions is, [A], by the probability to retain."""
  return jnp.prod(jnp.where(ACTIONS, probability, 1 - probability), -1)


def expected_gradient(policy, params, passes, value_of):
  """Of REINFORCE: minus that of the loss, over all pairs of actions.

  Args:
    policy, params, passes: from `two_images`.
    value_of: what each action of a pair is worth.
  """
  chance = chances(passes.probability_N)

  def objective(params):
    values = jnp.stack([value_of(retained) for retained in ACTIONS])
    losses = jax.vmap(selector.policy_loss, in_axes=(None, None, 0, 0, 0))(
      params, policy, passes.state_NxK, passes.retained_N, values
    )
    # The loss is a mean, Eq. (4) a sum.
    return -2 * (chance * losses).sum()

  return jax.jit(jax.grad(objective))(params)


def gradient_of_expectation(policy, params, features, reward_of):
  """Where the mean of what was retained is zero, whatever was retained."""
  state = np.concatenate([features, np.zeros_like(features)], 1)

  def expectation(params):
    logits = policy.apply({"params": params}, state)
    chance = chances(jnp.tile(jax.nn.sigmoid(logits), (4, 1)))
    return sum(c * reward_of(a) for c, a in zip(chance, ACTIONS, strict=True))

  return jax.jit(jax.grad(expectation))(params)


def assert_same_gradient(found, expected, factor=1.0):
  assert float(optax.tree.norm(expected)) > 1e-3
  scaled = jax.tree.map(lambda g: factor * g, expected)
  chex.assert_trees_all_close(found, scaled, rtol=1e-4, atol=1e-6)


def test_the_policy_gradient_is_the_closed_form():
  """The gradient of sum pi_i R_i, where each state is as it came."""
  features = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
  policy, params, passes = two_images(features)
  # What the policy sees of the second depends on what became of the first.
  assert (passes.state_NxK[1, 1] != passes.state_NxK[3, 1]).any()
  chance = chances(passes.probability_N)

  def retained_reward(params):
    logits = policy.apply({"params": params}, passes.state_NxK)
    return (chance * (jax.nn.sigmoid(logits) @ TWO)).sum()

  closed = jax.jit(jax.grad(retained_reward))(params)
  found = jax.jit(
    lambda removed_credit: expected_gradient(
      *(policy, params, passes),
      lambda retained: selector.action_values(TWO, retained, removed_credit),
    )
  )
  # Eq. (4) as printed says nothing at all.
  for removed_credit, factor in ((1.0, 0.0), (0.0, 1.0), (-1.0, 2.0)):
    assert_same_gradient(found(removed_credit), closed, factor)


def test_it_climbs_equation_3():
  """Wherever no state depends on an action: no mean differs from zero here."""
  features = np.array([[0, 0, 0], [0.4, -1.0, 0.7]], np.float32)
  policy, params, passes = two_images(features)
  found = expected_gradient(
    *(policy, params, passes),
    lambda retained: selector.action_values(TWO, retained, 0.0),
  )
  expected = gradient_of_expectation(
    policy, params, features, lambda retained: (retained * TWO).sum()
  )
  assert_same_gradient(found, expected)


def test_a_shared_reward_counts_for_every_action():
  features = np.array([[0, 0, 0], [0.4, -1.0, 0.7]], np.float32)
  policy, params, passes = two_images(features)

  def reward(retained):
    return selector.log_likelihood(jnp.array([0.8, 0.3]), retained)

  found = expected_gradient(
    *(policy, params, passes),
    lambda retained: jnp.broadcast_to(reward(retained), (2,)),
  )
  expected = gradient_of_expectation(policy, params, features, reward)
  assert_same_gradient(found, expected)


update = jax.jit(update_policy, static_argnums=(0, 1, 6))


def test_an_update_of_less_than_a_batch_is_one_step():
  features = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
  policy, params, passes = two_images(features)
  tx = optax.sgd(0.5)
  old = Policy(params, tx.init(params))
  one = Selection(*(values[2] for values in passes))
  new = update(tx, policy, old, one, jnp.asarray(TWO), jax.random.key(0), 128)
  gradient = jax.jit(jax.grad(selector.policy_loss), static_argnums=1)(
    params, policy, one.state_NxK, one.retained_N, TWO
  )
  expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
  chex.assert_trees_all_close(new.params, expected, atol=1e-6)


def test_an_update_is_a_step_for_each_whole_batch():
  """Of ten images in batches of three, one waits for another epoch."""
  policy = PolicyNetwork(())
  state = np.eye(10, dtype=np.float32)
  params = jax.jit(policy.init)(jax.random.key(0), state[:1])["params"]
  selection = Selection(
    jnp.ones(10, bool), jnp.full(10, 0.5), jnp.asarray(state)
  )
  tx = optax.sgd(1.0)
  old = Policy(params, tx.init(params))
  changed = []
  for seed in range(5):
    key = jax.random.key(seed)
    new = update(tx, policy, old, selection, jnp.ones(10), key, 3)
    difference = new.params["output"]["kernel"] - params["output"]["kernel"]
    changed.append(np.asarray(difference)[:, 0] > 0)
    assert changed[-1].sum() == 9
  assert np.array(changed).any(0).all()


def test_a_bandit_is_solved():
  """Images with a positive reward stay in the end, and no others."""
  policy = PolicyNetwork((16, 8))
  rng = np.random.default_rng(0)
  is_good = np.arange(96) % 3 > 0
  features = rng.normal(size=(96, 4)).astype(np.float32)
  features[:, 0] = np.where(is_good, 1, -1)
  # Even a bad one is sometimes rewarded.
  reward = jnp.asarray(np.where(is_good, 0.3, -0.3) + rng.normal(0, 0.1, 96))
  tx = optax.adam(1e-2)

  def epoch(policy_state, key):
    order_key, action_key, shuffle_key = jax.random.split(key, 3)
    selection = select(
      policy,
      policy_state.params,
      jnp.asarray(features),
      jax.random.permutation(order_key, 96),
      jax.random.uniform(action_key, (96,)),
    )
    value = selector.action_values(reward, selection.retained_N, -1.0)
    new = update_policy(
      tx, policy, policy_state, selection, value, shuffle_key, 32
    )
    return new, selection.probability_N

  params = jax.jit(policy.init)(jax.random.key(1), jnp.zeros((1, 8)))["params"]
  start = Policy(params, tx.init(params))
  keys = jax.random.split(jax.random.key(2), 60)
  _, probability = jax.jit(lambda: jax.lax.scan(epoch, start, keys))()
  first, last = np.asarray(probability)[[0, -1]]
  assert first[~is_good].mean() > 0.4
  assert last[is_good].min() > 0.9
  assert last[~is_good].max() < 0.1
