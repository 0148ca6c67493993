"""RLPS-S: the selector that finds wrong labels; see `models.label_selector`.

A classifier is trained K times, each time without one fold of the training
part, and says what it makes of that fold and of the validation part. From that
policies learn by REINFORCE who stays, once; then the classifier is trained on
what is kept. The labels of the validation part are right: they are the reward,
as in Yoon et al. 2020. Nothing is chosen on the test part.

Each policy learns from one half of the validation part. The other half, which
it has not seen, chooses among `RECIPES`: how often one of its examples is more
likely to stay than one of the training part. Were a share q of the training
part wrong and the rest like the validation part, that figure would be (1 - q) /
2 + q A, where A is the same of right and of wrong labels: the best at the one
is the best at the other, and no wrong label has to be known for it. Since the
parts are never quite alike, the recipe that trusts the classifier most is taken
of those that are within one standard error of the best.

M examples: N of the training part, behind them V of the validation part; K
classes, S values of a state, P policies.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from emojax.data import gradients
from emojax.data.noise import NoisyDataset
from emojax.models import label_selector
from emojax.models.selector import PolicyNetwork, Selection, with_floor
from emojax.trainers import fit

_FEATURES = 16  # Principal components of images that the policy sees.


class Seen(NamedTuple):
  """What is known of examples without having been trained on them.

  Attributes:
    log_nxK: log-probabilities of a classifier.
    label_n: right or wrong.
    features_nxD: see `label_selector.states`; D may be 0.
  """

  log_nxK: np.ndarray
  label_n: np.ndarray
  features_nxD: np.ndarray


class Recipe(NamedTuple):
  """What the validation part decides on."""

  # A label of the training part counts this much of its probability as truth.
  trust: float
  # See `label_selector.rewards`: the class's baseline, or nearly the set's.
  prior: float
  sees_features: bool


# Those that trust the most, and see the least, come first.
RECIPES = tuple(
  itertools.starmap(
    Recipe,
    itertools.product((1.0, 0.5, 0.25, 0.0), (1e6, 100.0), (False, True)),
  )
)


class Learned(NamedTuple):
  """What `select` found.

  Attributes:
    selection: of the training part; its states are left out.
    recipe: the chosen one.
    separation: its figure on the halves that it had not seen.
  """

  selection: Selection
  recipe: Recipe
  separation: float


class Chosen(NamedTuple):
  """Who stays, and what the classifiers of the folds made of the examples."""

  selection: Selection
  log_NxK: np.ndarray


def folds(count: int, num_folds: int, seed: int) -> np.ndarray:
  """The fold of each example, int [count]: of equal sizes, at random."""
  rng = np.random.default_rng((seed, num_folds))
  return rng.permutation(count) % num_folds


def seen(
  examples: fit.Examples,
  variables: Sequence[Any],
  data: NoisyDataset,
  seed: int,
) -> tuple[Seen, Seen]:
  """What data look like to classifiers that each lack a fold of them.

  One of them says it of an example of the validation part, too, lest they be
  surer there together. Features are of images alone: they know no label.

  Args:
    examples: the data on the devices.
    variables: of the classifier without each fold, of `folds` with `seed`.
    data: the same data.
    seed: of the folds.

  Returns:
    The training part, and the validation part.
  """
  parts = {part: data.parts[part] for part in ("train", "validation")}
  features = {n: np.zeros((len(of), 0), np.float32) for n, of in parts.items()}
  if data.has_pictures:
    described = {n: gradients.describe(of.inputs()) for n, of in parts.items()}
    features = gradients.components(described, _FEATURES)
  found = []
  for part, of in parts.items():
    fold_n = folds(len(of), len(variables), seed)
    logits = np.stack([examples.predict(one, part)[0] for one in variables])
    logits_nxK = logits[fold_n, np.arange(len(of))]
    log_nxK = np.asarray(jax.nn.log_softmax(logits_nxK))
    found.append(Seen(log_nxK, of.label_N, features[part]))
  return tuple(found)


def select(
  config: ml_collections.ConfigDict,
  train: Seen,
  validation: Seen,
  key: jax.Array,
) -> Learned:
  """Learns who stays in the training part.

  Args:
    config: `config.label_policy`.
    train: N examples, out of fold.
    validation: V examples, whose labels are right.
    key: of its chance.
  """
  log, label, features = (
    np.concatenate(pair) for pair in zip(train, validation, strict=True)
  )
  recipes = [
    one for one in RECIPES if features.shape[1] or not one.sees_features
  ]
  count = len(train.label_n)
  half_M = np.full(len(label), -1)
  half_M[count:] = np.arange(len(validation.label_n)) % 2
  logit_PxM = _learn(
    *(log, np.float32(features), label, half_M, np.array(recipes), key),
    *(tuple(config.widths), config.learning_rate, config.batch_size),
    *(config.epochs, config.entropy_bonus),
  )
  # A policy of either half for each recipe.
  logit_RxHxM = np.asarray(logit_PxM).reshape(len(recipes), 2, -1)
  placed_RxV = np.array(
    [
      np.concatenate(
        [
          placements(logit_M[half_M == 1 - half], logit_M[:count])
          for half, logit_M in enumerate(logit_HxM)
        ]
      )
      for logit_HxM in logit_RxHxM
    ]
  )
  figures_R = placed_RxV.mean(1)
  top = int(figures_R.argmax())
  error = placed_RxV[top].std() / np.sqrt(placed_RxV.shape[1])
  best = int(np.argmax(figures_R >= figures_R[top] - error))
  logit_HxM = logit_RxHxM[best]
  # The same level for what is known to be right, whatever the policy.
  levels = [
    np.quantile(logit_M[half_M == 1 - half], 1 - config.right_share)
    for half, logit_M in enumerate(logit_HxM)
  ]
  logit_N = (logit_HxM[:, :count] - np.array(levels)[:, None]).mean(0)
  probability_N = jax.nn.sigmoid(jnp.asarray(logit_N, jnp.float32))
  retained_N = with_floor(
    *(probability_N >= 0.5, probability_N, jnp.asarray(train.label_n)),
    *(log.shape[1], config.floor),
  )
  selection = Selection(retained_N, probability_N, jnp.zeros((1, 1)))
  return Learned(selection, recipes[best], float(figures_R[best]))


def placements(known_n: np.ndarray, all_m: np.ndarray) -> np.ndarray:
  """Share of all that each known one is above, [n]; a tie counts half.

  Its mean is the area under the curve.
  """
  sorted_m = np.sort(all_m)
  below_n = np.searchsorted(sorted_m, known_n, "left")
  until_n = np.searchsorted(sorted_m, known_n, "right")
  return (below_n + until_n) / (2 * len(all_m))


class _Views(NamedTuple):
  """What policies see, what it is worth to them, and who takes part."""

  seen_PxS: jax.Array  # 0 for what a policy does not see.
  reward_PxM: jax.Array
  part_PxM: jax.Array


def _views(
  log_MxK: jax.Array,
  label_M: jax.Array,
  half_M: jax.Array,
  recipe_Rx3: jax.Array,
  num_states: int,
) -> _Views:
  """Of two policies for each recipe; halves are -1 in the training part."""
  num_classes = log_MxK.shape[1]
  given_M = jnp.take_along_axis(jnp.exp(log_MxK), label_M[:, None], 1)[:, 0]
  is_feature_S = jnp.arange(num_states) >= 2 * num_classes + 3

  def one(recipe_3, half):
    trust, prior, sees_features = recipe_3
    part_M = (half_M == half) | (half_M < 0)
    truth_M = jnp.where(half_M >= 0, 1.0, trust * given_M)
    reward_M = label_selector.rewards(
      truth_M, label_M, part_M, num_classes, prior
    )
    return (~is_feature_S | (sees_features > 0)) * 1.0, reward_M, part_M * 1.0

  half_P = jnp.tile(jnp.arange(2), len(recipe_Rx3))
  return _Views(*jax.vmap(one)(jnp.repeat(recipe_Rx3, 2, 0), half_P))


def _batches(key: jax.Array, count: int, size: int, epochs: int) -> jax.Array:
  """Shuffled indices [steps, size]; what is left over waits for an epoch."""
  keys = jax.random.split(key, epochs)
  order = jax.vmap(lambda key: jax.random.permutation(key, count))(keys)
  return order[:, : count // size * size].reshape(-1, size)


@functools.partial(jax.jit, static_argnums=(6, 7, 8, 9, 10))
def _learn(
  log_MxK: jax.Array,
  features_MxD: jax.Array,
  label_M: jax.Array,
  half_M: jax.Array,
  recipe_Rx3: jax.Array,
  key: jax.Array,
  widths: tuple[int, ...],
  learning_rate: float,
  batch_size: int,
  epochs: int,
  bonus: float,
) -> jax.Array:
  """Logits [P, M] of policies: two, of either half, for each recipe."""
  network = PolicyNetwork(widths)
  state_MxS = label_selector.states(log_MxK, features_MxD, label_M)
  views = _views(log_MxK, label_M, half_M, recipe_Rx3, state_MxS.shape[1])
  weights_key, order_key, action_key = jax.random.split(key, 3)
  params = jax.vmap(lambda key: network.init(key, state_MxS[:1])["params"])(
    jax.random.split(weights_key, len(views.seen_PxS))
  )
  tx = optax.adam(learning_rate)
  size = min(batch_size, len(label_M))
  batches = _batches(order_key, len(label_M), size, epochs)
  of_policy = functools.partial(label_selector.policy_loss, network, bonus)

  def loss(params, index_B, uniform_B):
    state_PxBxS = state_MxS[None, index_B] * views.seen_PxS[:, None]
    return jax.vmap(of_policy, (0, 0, None, 0, 0))(
      *(params, state_PxBxS, uniform_B),
      *(views.reward_PxM[:, index_B], views.part_PxM[:, index_B]),
    ).sum()

  def step(carry, inputs):
    params, optimizer = carry
    index_B, key = inputs
    grads = jax.grad(loss)(params, index_B, jax.random.uniform(key, (size,)))
    updates, optimizer = tx.update(grads, optimizer, params)
    return (optax.apply_updates(params, updates), optimizer), None

  keys = jax.random.split(action_key, len(batches))
  start = params, tx.init(params)
  (params, _), _ = jax.lax.scan(step, start, (batches, keys))
  return jax.vmap(
    lambda params, seen_S: network.apply(
      {"params": params}, state_MxS * seen_S[None]
    )
  )(params, views.seen_PxS)
