"""The image selector: who stays in the training set, decided one by one.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition", section 3.1. N images, D features.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels import target

# Images that a GPU decides at once, see `_in_blocks`.
_BLOCK = 1024
# The reward of an image of its own, or of a whole selection, the same for all.
PROBABILITY, F1, LIKELIHOOD = "probability", "f1", "likelihood"


class PolicyNetwork(nn.Module):
  """Dense layers with ReLU: the logit of retaining an image, Eq. (1).

  Attributes:
    widths: of the layers before the last one: four in the paper, which leaves
      the widths open; none is DCNN+Sigmoid's (after Feng et al. 2018).
  """

  widths: tuple[int, ...] = (256, 128, 64, 32)

  def setup(self):
    self.layer = [nn.Dense(width) for width in self.widths]
    self.output = nn.Dense(1)

  def __call__(self, state_BxK: jax.Array) -> jax.Array:
    """States [B, K] to logits [B]; the sigmoid of one is its probability."""
    return self.decide(self._first(state_BxK))

  def project(self, features_BxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the first layer makes of an image's features, and of a mean of such.

    Their sum is the layer's output, before an activation: [B, P] each.
    """
    params = self._first.variables["params"]
    image_DxP, mean_DxP = jnp.split(params["kernel"], 2)
    of_image_BxP = features_BxD @ image_DxP + params["bias"][None]
    return of_image_BxP, features_BxD @ mean_DxP

  def decide(self, x_BxP: jax.Array) -> jax.Array:
    """All that follows the first layer's products: logits [B]."""
    if self.widths:
      for layer in (*self.layer[1:], self.output):
        x_BxP = layer(nn.relu(x_BxP))
    return x_BxP[..., 0]

  @property
  def _first(self) -> nn.Dense:
    return self.layer[0] if self.widths else self.output


class Selection(NamedTuple):
  """A pass over the training set, in its own order.

  Attributes:
    retained_N: bool, whether an image stays.
    probability_N: of staying, as the policy saw it in its turn.
    state_NxK: what it saw: the image's features beside the mean of those
      retained before it, K = 2 D.
  """

  retained_N: jax.Array
  probability_N: jax.Array
  state_NxK: jax.Array


def observe(
  logits_NxK: jax.Array, features_NxD: jax.Array, label_N: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What the selector makes of the classifier's outputs for the training set.

  Each feature is divided by its root mean square over the set: what the policy
  sees keeps its scale while the classifier's grows. Without that half of the
  training set comes and goes from one epoch to the next.

  Returns:
    Features [N, D], the log-odds [N] of the labels, whose `sigmoid` is their
    probability (that is 1 for whoever is above 17 in float32, and orders them
    no more), and what each feature was divided by, [D].
  """
  log_odds_N = log_odds(logits_NxK, label_N)
  # A unit that is never active stays zero.
  size_D = jnp.maximum(jnp.sqrt((features_NxD**2).mean(0)), 1e-6)
  return features_NxD / size_D[None], log_odds_N, size_D


def log_odds(logits_NxK: jax.Array, label_N: jax.Array) -> jax.Array:
  """log p / (1 - p) of the labels' probability p, [N].

  Args:
    logits_NxK: or log-probabilities.
    label_N: of K classes.
  """
  label_NxK = jax.nn.one_hot(label_N, logits_NxK.shape[1], dtype=bool)
  given_N = jnp.where(label_NxK, logits_NxK, 0).sum(1)
  others_NxK = jnp.where(label_NxK, -jnp.inf, logits_NxK)
  return given_N - jax.nn.logsumexp(others_NxK, axis=1)


def select(
  policy: nn.Module,
  params,
  features_NxD: jax.Array,
  order_N: jax.Array,
  uniform_N: jax.Array,
) -> Selection:
  """Algorithm 1, lines 5 to 12.

  Action 1 retains (section 3.1.2; line 9 prints the contrary). The running mean
  starts at zero.

  What the first layer makes of a mean is the mean of what it makes of features.
  So it runs once, over all images, and a pass keeps the mean of its outputs.

  Args:
    policy, params: give logits of states.
    features_NxD: of the classifier's first dense layer.
    order_N: a permutation of the images.
    uniform_N: in 0..1 for each image; it stays if its probability is not less.
      0.5 for all decides deterministically.
  """
  apply = functools.partial(policy.apply, {"params": params})
  features_NxD = features_NxD[order_N]
  decide = functools.partial(apply, method="decide")
  projected = apply(features_NxD, method="project")
  pass_over = _in_blocks if target.platform() == "gpu" else _in_turn
  retained_N, probability_N = pass_over(decide, *projected, uniform_N[order_N])
  state_NxK = jnp.concatenate(
    [features_NxD, _mean_before(features_NxD, retained_N)], 1
  )
  passed = (retained_N, probability_N, state_NxK)
  return Selection(*(jnp.zeros_like(x).at[order_N].set(x) for x in passed))


def _in_turn(decide, of_image_NxP, of_mean_NxP, uniform_N):
  """Who is retained, and how probably: one image after the other, bool [N].

  `decide` makes logits of the first layer's outputs. All comes in order.
  """

  def step(carry, image):
    total_P, count = carry
    of_image_P, of_mean_P, uniform = image
    x_P = of_image_P + total_P / jnp.maximum(count, 1)
    probability = nn.sigmoid(decide(x_P[None])[0])
    retained = probability >= uniform
    carry = (total_P + retained * of_mean_P, count + retained)
    return carry, (retained, probability)

  start = (jnp.zeros_like(of_mean_NxP[0]), jnp.float32(0))
  return jax.lax.scan(step, start, (of_image_NxP, of_mean_NxP, uniform_N))[1]


def _in_blocks(decide, of_image_NxP, of_mean_NxP, uniform_N):
  """The same as `_in_turn`, in some hundred launches instead of 11 an image.

  An image depends on those before it alone. So the decisions of a block are
  the only ones that reproduce themselves, and where each round decides all of
  them anew from the round before, one more is right for good in each round; in
  practice a handful of rounds is enough. Slower on a CPU.
  """
  num_examples = len(uniform_N)
  spare = -num_examples % _BLOCK

  def blocks(x, **fill):
    x = jnp.pad(x, ((0, spare), *[(0, 0)] * (x.ndim - 1)), **fill)
    return x.reshape(-1, _BLOCK, *x.shape[1:])

  before_BxB = jnp.tri(_BLOCK, k=-1)

  def step(carry, block):
    total_P, count = carry
    of_image_BxP, of_mean_BxP, uniform_B = block

    def again(state):
      old_B = state[0]
      total_BxP = total_P[None] + before_BxB @ (old_B[:, None] * of_mean_BxP)
      count_B = count + jnp.cumsum(old_B) - old_B
      x_BxP = of_image_BxP + total_BxP / jnp.maximum(count_B, 1)[:, None]
      probability_B = nn.sigmoid(decide(x_BxP))
      retained_B = (probability_B >= uniform_B).astype(jnp.float32)
      return retained_B, probability_B, (retained_B != old_B).any()

    start = jnp.zeros_like(uniform_B), uniform_B, jnp.bool_(True)
    retained_B, probability_B, _ = jax.lax.while_loop(
      lambda state: state[2], again, start
    )
    carry = total_P + retained_B @ of_mean_BxP, count + retained_B.sum()
    return carry, (retained_B > 0, probability_B)

  # Whoever fills the last block up needs a probability above 1 to stay.
  operands = blocks(of_image_NxP), blocks(of_mean_NxP)
  operands = (*operands, blocks(uniform_N, constant_values=2.0))
  start = (jnp.zeros_like(of_mean_NxP[0]), jnp.float32(0))
  # Decisions of rounded products would be others.
  with jax.default_matmul_precision("highest"):
    _, passed = jax.lax.scan(step, start, operands)
  return tuple(x.reshape(-1)[:num_examples] for x in passed)


def random_pass(
  policy: nn.Module,
  params,
  features_NxD: jax.Array,
  key: jax.Array,
  is_final: bool | jax.Array,
) -> Selection:
  """`select` in a random order: by chance, at last those of 0.5 and more."""
  order_key, action_key, _ = jax.random.split(key, 3)
  num_examples = len(features_NxD)
  uniform_N = jax.random.uniform(action_key, (num_examples,))
  uniform_N = jnp.where(is_final, 0.5, uniform_N)
  order_N = jax.random.permutation(order_key, num_examples)
  return select(policy, params, features_NxD, order_N, uniform_N)


def first_of(score_N: jax.Array, count: jax.Array) -> jax.Array:
  """Retains the `count` examples of the highest score, bool [N]."""
  return _ranks(score_N) < count


def with_floor(
  retained_N: jax.Array,
  probability_N: jax.Array,
  label_N: jax.Array,
  num_classes: int,
  floor: float,
) -> jax.Array:
  """Retains at least a share of each class, bool [N].

  Those of a class that come back are the ones that the policy was least sure
  to remove. A guard against a selector that keeps what is easy, and whole
  classes are not.

  Args:
    retained_N, probability_N: by the policy, see `Selection`.
    label_N: of `num_classes`.
    floor: the share, rounded up to whole examples.
  """
  # Retained ones first, then by their probability.
  score_N = probability_N + 2.0 * retained_N
  of_class_NxK = jax.nn.one_hot(label_N, num_classes, dtype=bool)
  # A little less, as 0.3 of 50 are 15 whatever the last bit of float32 says.
  needed_K = jnp.ceil(floor * (1 - 1e-6) * of_class_NxK.sum(0))

  def keep(of_class_N, needed):
    score = jnp.where(of_class_N, score_N, -jnp.inf)
    return (_ranks(score) < needed) & of_class_N

  keep_KxN = jax.vmap(keep, in_axes=(1, 0))(of_class_NxK, needed_K)
  return retained_N | keep_KxN.any(0)


def rewards(
  kind: str, true_N: jax.Array, retained_N: jax.Array, f1_change
) -> jax.Array:
  """Of each example: its own, or the selection's, the same for all of it.

  Args:
    kind: `PROBABILITY`, `F1` or `LIKELIHOOD`.
    true_N: the probability that the classifier gives to each example's label.
    retained_N: bool, the selection.
    f1_change: of the validation F1, by training on the selection.
  """
  if kind == PROBABILITY:
    # Eq. (2): how much surer of the label than of labels in the mean.
    return true_N - true_N.mean()
  shared = f1_change if kind == F1 else log_likelihood(true_N, retained_N)
  return jnp.broadcast_to(shared, true_N.shape)


def log_likelihood(true_N: jax.Array, retained_N: jax.Array) -> jax.Array:
  """Mean log-likelihood of the retained set, less that of the whole one.

  Feng et al. 2018, "Reinforcement learning for relation classification from
  noisy data", section 3.2, one bag being the training set; the difference is
  their baseline. 0 where nothing is retained.
  """
  log_N = jnp.log(jnp.maximum(true_N, 1e-8))
  count = jnp.maximum(retained_N.sum(), 1)
  difference = (log_N * retained_N).sum() / count - log_N.mean()
  return jnp.where(retained_N.any(), difference, 0.0)


def action_values(
  reward_N: jax.Array, retained_N: jax.Array, removed_credit: float
) -> jax.Array:
  """What each action is worth, from the reward of its example, [N].

  The reward of Eq. (2) is the same whether the example stays or goes, so Eq.
  (4) as printed has an expected gradient of zero: the policy learns nothing of
  it but the noise of its own sampling. What is to grow is Eq. (3), the rewards
  that are retained; then R counts for an action that retains and 0 for one that
  removes. Half of R can be taken off both without a change in the expectation:
  that leaves R and -R (and a factor 1/2), and every example speaks.

  R is multiplied with `removed_credit` where the example went: -1, 0 for the
  retained ones alone, or 1 for Eq. (4) as printed.
  """
  return jnp.where(retained_N, reward_N, removed_credit * reward_N)


def policy_loss(
  params,
  policy: nn.Module,
  state_BxK: jax.Array,
  retained_B: jax.Array,
  value_B: jax.Array,
) -> jax.Array:
  """Eq. (4) with the sign of a loss: its gradient is REINFORCE, Eq. (6).

  The policy saw `state_BxK`, decided `retained_B`, which was worth `value_B`
  (see `action_values`).
  """
  logit_B = policy.apply({"params": params}, state_BxK)
  log_probability_B = nn.log_sigmoid(jnp.where(retained_B, logit_B, -logit_B))
  return -(value_B * log_probability_B).mean()


def _ranks(score_N: jax.Array) -> jax.Array:
  """0 for the highest; the first of equals comes first."""
  return jnp.argsort(jnp.argsort(-score_N, stable=True))


def _mean_before(features_NxD: jax.Array, retained_N: jax.Array) -> jax.Array:
  """The mean of those retained before each image, zero before the first."""
  counted_NxD = retained_N[:, None] * features_NxD
  count_N = jnp.cumsum(retained_N) - retained_N
  total_NxD = jnp.cumsum(counted_NxD, 0) - counted_NxD
  return total_NxD / jnp.maximum(count_N, 1)[:, None]
