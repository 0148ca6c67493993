"""The selector of labels: its state, rewards and gradient; what it learns."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import torch
from sklearn import metrics

from emojax.models import label_selector
from emojax.models.selector import PolicyNetwork
from emojax.trainers import rlps_s
from emojax.trainers.rlps_s import Seen


def test_state_of_an_example():
  """By hand, before it is put at one scale."""
  log_NxK = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], np.float32))
  state = np.asarray(
    label_selector.states(log_NxK, np.zeros((2, 0)), np.array([0, 1]))
  )
  assert state.shape == (2, 2 * 3 + 3)
  np.testing.assert_array_equal(state[:, :3], [[1, 0, 0], [0, 1, 0]])
  # Of two values, one is a deviation above the mean, the other below: surer of
  # the label, further above the rest, less entropy.
  np.testing.assert_allclose(state[:, 6:], [[1, 1, -1], [-1, -1, 1]], rtol=1e-4)


def test_reward_is_above_the_mean_of_the_class():
  truth = np.array([0.9, 0.5, 0.2, 0.4, 1.0], np.float32)
  label = np.array([0, 0, 1, 1, 1])
  part = np.array([True, True, True, True, False])
  found = label_selector.rewards(truth, label, part, 2, 1e-9)
  np.testing.assert_allclose(found, [0.2, -0.2, -0.1, 0.1, 0.7], rtol=1e-5)
  # With a large prior it is Eq. (2): less the mean of the set.
  found = label_selector.rewards(truth, label, part, 2, 1e9)
  np.testing.assert_allclose(found, truth - 0.5, atol=1e-5)


def test_loss_and_gradient_are_those_of_torch():
  rng = np.random.default_rng(0)
  state = rng.normal(size=(6, 4)).astype(np.float32)
  uniform, reward = rng.random(6), rng.normal(size=6)
  weight = np.array([1, 1, 0, 1, 1, 1.0])
  policy = PolicyNetwork(())
  params = policy.init(jax.random.key(0), state)["params"]
  loss, grads = jax.value_and_grad(label_selector.policy_loss, argnums=2)(
    *(policy, 0.3, params, state, uniform, reward, weight)
  )
  kernel = torch.tensor(np.array(params["output"]["kernel"])[:, 0])
  kernel = kernel.double().requires_grad_()
  logit = torch.tensor(state).double() @ kernel
  chance = torch.distributions.Bernoulli(logits=logit)
  action = torch.tensor(uniform) < torch.sigmoid(logit)
  value = torch.where(action, torch.tensor(reward), -torch.tensor(reward))
  gain = value * chance.log_prob(action.double()) + 0.3 * chance.entropy()
  theirs = -(torch.tensor(weight) * gain).mean()
  theirs.backward()
  np.testing.assert_allclose(loss, theirs.item(), rtol=1e-5)
  np.testing.assert_allclose(
    grads["output"]["kernel"][:, 0], kernel.grad, rtol=1e-4, atol=1e-6
  )


def test_the_best_logit_is_twice_the_reward_by_the_bonus():
  """The expectation over both actions, at its optimum."""
  policy = PolicyNetwork(())
  bias = jnp.array([2 * 0.4 / 0.5])
  params = {"output": {"kernel": jnp.zeros((1, 1)), "bias": bias}}
  stay = float(jax.nn.sigmoid(bias[0]))

  def gradient(uniform):
    return jax.grad(label_selector.policy_loss, argnums=2)(
      *(policy, 0.5, params, jnp.ones((1, 1)), jnp.array([uniform])),
      *(jnp.array([0.4]), jnp.ones(1)),
    )["output"]["bias"][0]

  mean = stay * gradient(0.0) + (1 - stay) * gradient(0.999)
  assert abs(float(mean)) < 1e-6
  assert abs(float(gradient(0.0))) > 1e-3


def test_the_mean_placement_is_the_area_under_the_curve():
  rng = np.random.default_rng(0)
  known, others = rng.integers(0, 9, 50), rng.integers(0, 7, 70)
  truth = np.r_[np.ones(50), np.zeros(70)]
  theirs = metrics.roc_auc_score(truth, np.r_[known, others])
  np.testing.assert_allclose(rlps_s.placements(known, others).mean(), theirs)


def test_finds_labels_that_their_probability_hides():
  """Class 1 is mistaken for class 0: its probability is high all the same."""
  rng = np.random.default_rng(0)

  def seen(count, wrong):
    # Labels 0 are few and right where the rest is split evenly.
    share = np.where(
      wrong[:, None], [0.35, 0.6, 0.05], np.array([0.3, 0.35, 0.35])
    )
    share += 0.02 * rng.random((count, 3))
    share /= share.sum(1, keepdims=True)
    log = np.log(share).astype(np.float32)
    return Seen(log, np.zeros(count, int), np.zeros((count, 0)))

  wrong = rng.random(600) < 0.3
  config = ml_collections.ConfigDict(
    {
      "widths": (8,),
      "learning_rate": 0.01,
      "batch_size": 64,
      "epochs": 15,
      "entropy_bonus": 0.3,
      "right_share": 0.9,
      "floor": 0.5,
    }
  )
  learned = rlps_s.select(
    *(config, seen(600, wrong), seen(200, np.zeros(200, bool))),
    jax.random.key(0),
  )
  order = -np.asarray(learned.selection.probability_N)
  assert metrics.roc_auc_score(wrong, order) > 0.95
  retained = np.asarray(learned.selection.retained_N)
  assert retained[~wrong].mean() > 0.8 and retained[wrong].mean() < 0.2
  # What the order would be by the label's probability.
  hidden = seen(600, wrong).log_nxK[:, 0]
  assert metrics.roc_auc_score(wrong, -hidden) < 0.2
