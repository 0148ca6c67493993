"""The selector of RLPS-S: which labels are right, told from out of fold.

What it changes of `models.selector` (Li & Xu 2020): the state holds the label
and how far a classifier is from it that was not trained on the example, as in
confident learning (Northcutt et al. 2021); Eq. (2) has a baseline of each
class; an entropy bonus keeps the policy from saturating. What is learned is the
value of data, by REINFORCE, with clean validation examples for a reward, as in
Yoon et al. 2020, "Data valuation using reinforcement learning".

Letters in names: N examples of the training part and, behind them, of the
validation part; K classes; S values of a state; B examples of a batch.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


def states(
  log_NxK: jax.Array, features_NxD: jax.Array, label_N: jax.Array
) -> jax.Array:
  """What the policy sees, [N, 2 K + 3 + D].

  The label, one of K; all log-probabilities; that of the label, its distance
  from the best of the others, and the entropy; and the features. Each but the
  first K has mean 0 and variance 1.

  Args:
    log_NxK: log-probabilities of a classifier not trained on the example.
    features_NxD: whatever else is known of an example without its label; D may
      be 0.
    label_N: as they are, right or wrong.
  """
  label_NxK = jax.nn.one_hot(label_N, log_NxK.shape[1])
  given_N = (log_NxK * label_NxK).sum(1)
  rival_N = jnp.where(label_NxK > 0, -jnp.inf, log_NxK).max(1)
  entropy_N = -(jnp.exp(log_NxK) * log_NxK).sum(1)
  told_Nx3 = jnp.stack([given_N, given_N - rival_N, entropy_N], 1)
  seen = jnp.concatenate([log_NxK, told_Nx3, features_NxD], 1)
  mean, scale = seen.mean(0), jnp.maximum(seen.std(0), 1e-6)
  scaled = (seen - mean[None]) / scale[None]
  return jnp.concatenate([label_NxK, scaled], 1)


def rewards(
  truth_N: jax.Array,
  label_N: jax.Array,
  part_N: jax.Array,
  num_classes: int,
  prior: float | jax.Array,
) -> jax.Array:
  """Eq. (2), less the mean of the example's class instead of the set's.

  With the set's mean whole classes went: rare ones are less sure. The mean of a
  class counts `prior` examples of the set's mean beside its own, since that of
  a handful is hardly known.

  Args:
    truth_N: the probability of the label; 1 where it is known to be right.
    label_N: of `num_classes`.
    part_N: bool, the examples that means are taken of.
    prior: more than 0; the larger, the more it is Eq. (2).
  """
  label_NxK = jax.nn.one_hot(label_N, num_classes) * part_N[:, None]
  mean = (truth_N * part_N).sum() / part_N.sum()
  total_K = truth_N @ label_NxK + prior * mean
  return truth_N - (total_K / (label_NxK.sum(0) + prior))[label_N]


def policy_loss(
  policy: nn.Module,
  entropy_bonus: float,
  params,
  state_BxS: jax.Array,
  uniform_B: jax.Array,
  reward_B: jax.Array,
  weight_B: jax.Array,
) -> jax.Array:
  """REINFORCE (Eq. (6)) with an entropy bonus, with the sign of a loss.

  As in `selector.action_values`, R counts for the action that retains and -R
  for the one that removes. What it climbs is E[(2 a - 1) R] + bonus H(pi),
  which is at its best where the logit is 2 R / bonus: it stays finite, and its
  order is that of the expected reward of a state.

  Args:
    policy: gives logits [B] of states.
    entropy_bonus: more than 0, in units of the reward for a nat.
    params: of the policy.
    state_BxS: see `states`.
    uniform_B: in 0..1; an example stays if its probability is above it.
    reward_B: see `rewards`.
    weight_B: 0 for examples that take no part.
  """
  logit_B = policy.apply({"params": params}, state_BxS)
  log_stay_B, log_go_B = nn.log_sigmoid(logit_B), nn.log_sigmoid(-logit_B)
  stay_B = nn.sigmoid(logit_B)
  retained_B = uniform_B < stay_B
  log_action_B = jnp.where(retained_B, log_stay_B, log_go_B)
  value_B = jnp.where(retained_B, reward_B, -reward_B)
  entropy_B = -(stay_B * log_stay_B + (1 - stay_B) * log_go_B)
  gain_B = value_B * log_action_B + entropy_bonus * entropy_B
  return -(weight_B * gain_B).mean()
