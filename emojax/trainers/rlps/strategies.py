"""Who stays in the training set: the selector's and its rivals' choices.

N examples of the training part, K classes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from emojax.trainers.rlps import rewards

ALL, POLICY, SMALL_LOSS, RANDOM = "all", "policy", "small_loss", "random"


@dataclasses.dataclass(frozen=True)
class System:
  """A row of the tables.

  Attributes:
    name: behind the classifier's, such as "RLPS"; "" for the classifier alone.
    strategy: who chooses.
    policy: of a `POLICY`: "network" or "logistic".
    reward: of a `POLICY`: one of `rewards.REWARDS`.
  """

  name: str
  strategy: str
  policy: str = ""
  reward: str = ""

  @property
  def is_rival(self) -> bool:
    """Whether it retains as many as RLPS did, epoch by epoch."""
    return self.strategy in (SMALL_LOSS, RANDOM)


SYSTEMS = {
  "none": System("", ALL),
  "sigmoid": System("Sigmoid", POLICY, "logistic", rewards.LIKELIHOOD),
  "rlps_f1": System("RLPS+F1", POLICY, "network", rewards.F1),
  "rlps": System("RLPS", POLICY, "network", rewards.PROBABILITY),
  "small_loss": System("small loss", SMALL_LOSS),
  "random": System("random", RANDOM),
}


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
    retained_N: bool, by the policy.
    probability_N: of being retained.
    label_N: the classes.
    num_classes: K.
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


def _ranks(score_N: jax.Array) -> jax.Array:
  """0 for the highest; the first of equals comes first."""
  return jnp.argsort(jnp.argsort(-score_N, stable=True))
