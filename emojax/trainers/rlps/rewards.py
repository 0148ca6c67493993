"""Rewards of a selection pass, and the policy's update.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition", section 3.1. N examples of the training
part, K numbers of a state.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from emojax.models.selector import Selection

# An example's reward; the selection's, the same for all of it.
PROBABILITY, F1, LIKELIHOOD = "probability", "f1", "likelihood"
REWARDS = (PROBABILITY, F1, LIKELIHOOD)


@flax.struct.dataclass
class Policy:
  """What the policy's training changes.

  Attributes:
    params: of the policy.
    optimizer: its state.
  """

  params: Any
  optimizer: optax.OptState


def probability_rewards(true_probability_N: jax.Array) -> jax.Array:
  """Eq. (2): how much surer of the label than of labels in the mean, [N].

  Args:
    true_probability_N: that the classifier gives to each example's label.
  """
  return true_probability_N - true_probability_N.mean()


def likelihood_reward(
  true_probability_N: jax.Array, retained_N: jax.Array
) -> jax.Array:
  """Mean log-likelihood of the retained set, less that of the whole one.

  Feng et al. 2018, "Reinforcement learning for relation classification from
  noisy data", section 3.2, one bag being the training set; the difference is
  their baseline. 0 where nothing is retained.
  """
  log_N = jnp.log(jnp.maximum(true_probability_N, 1e-8))
  count = jnp.maximum(retained_N.sum(), 1)
  difference = (log_N * retained_N).sum() / count - log_N.mean()
  return jnp.where(retained_N.any(), difference, 0.0)


def credits(
  rewards_N: jax.Array, retained_N: jax.Array, removed_credit: float
) -> jax.Array:
  """What each action is worth, from the reward of its example, [N].

  The reward of Eq. (2) is the same whether the example stays or goes, so Eq.
  (4) as printed has an expected gradient of zero: the policy learns nothing of
  it but the noise of its own sampling. What is to grow is Eq. (3), the rewards
  that are retained; then R counts for an action that retains and 0 for one that
  removes. Half of R can be taken off both without a change in the expectation:
  that leaves R and -R (and a factor 1/2), and every example speaks.

  Args:
    rewards_N: of the examples.
    retained_N: bool, the actions.
    removed_credit: what R is multiplied with where the example went: -1, 0
      for the retained ones alone, or 1 for Eq. (4) as printed.
  """
  return jnp.where(retained_N, rewards_N, removed_credit * rewards_N)


def policy_loss(
  params,
  policy: nn.Module,
  state_BxK: jax.Array,
  retained_B: jax.Array,
  credit_B: jax.Array,
) -> jax.Array:
  """Eq. (4) with the sign of a loss: its gradient is REINFORCE, Eq. (6).

  Args:
    params: of the policy.
    policy: gives logits of states.
    state_BxK: what the policy saw.
    retained_B: bool, what it did.
    credit_B: what that was worth.

  Returns:
    Minus the mean of credit times log-probability of the action.
  """
  logit_B = policy.apply({"params": params}, state_BxK)
  log_probability_B = nn.log_sigmoid(jnp.where(retained_B, logit_B, -logit_B))
  return -(credit_B * log_probability_B).mean()


def update(
  tx: optax.GradientTransformation,
  policy: nn.Module,
  old: Policy,
  selection: Selection,
  credit_N: jax.Array,
  key: jax.Array,
  batch_size: int,
) -> Policy:
  """Algorithm 1, line 15: once through the pass, in shuffled batches.

  Args:
    tx: the policy's optimizer.
    policy: gives logits of states.
    old: before the update.
    selection: the pass.
    credit_N: see `credits`.
    key: of the shuffling.
    batch_size: examples of one step; what is left over at the end waits for
      another epoch. All of them in one step where there are fewer.
  """
  num_examples = len(credit_N)
  size = min(batch_size, num_examples)
  order_N = jax.random.permutation(key, num_examples)
  batches = order_N[: num_examples // size * size].reshape(-1, size)

  def step(state: Policy, index_B):
    grads = jax.grad(policy_loss)(
      state.params,
      policy,
      selection.state_NxK[index_B],
      selection.retained_N[index_B],
      credit_N[index_B],
    )
    updates, optimizer = tx.update(grads, state.optimizer, state.params)
    return Policy(optax.apply_updates(state.params, updates), optimizer), None

  new, _ = jax.lax.scan(step, old, batches)
  return new
