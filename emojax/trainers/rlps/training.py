"""Algorithm 1 of Li & Xu 2020, as the functions that the loop needs.

N examples of the training part, K classes, D features.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from emojax import loop
from emojax.models import selector
from emojax.models.selector import LogisticPolicy, PolicyNetwork, Selection
from emojax.trainers.rlps import rewards, strategies
from emojax.trainers.rlps.fitting import Fitting
from emojax.trainers.rlps.rewards import Policy
from emojax.trainers.rlps.step import Learner, Use
from emojax.trainers.rlps.strategies import POLICY, System

_NUM_SAMPLED = 100  # Examples whose rewards are kept of every epoch: Fig. 8.


@flax.struct.dataclass
class State:
  """What Algorithm 1 changes.

  Attributes:
    learner: the classifier.
    policy: a `Policy`; an empty tree where there is no selector.
    features_NxD: of the training part, by the classifier as it is.
    true_probability_N: that it gives to the labels.
    validation_f1: Eq. (7), of the classifier as it is.
    best_variables: the classifier at the best validation so far.
    best_score: its macro recall there; -1 before the first epoch.
    best_epoch: how many epochs after the pretraining that was.
  """

  learner: Learner
  policy: Any
  features_NxD: jax.Array
  true_probability_N: jax.Array
  validation_f1: jax.Array
  best_variables: Any
  best_score: jax.Array
  best_epoch: jax.Array


def pretraining(
  fitting: Fitting,
  key: jax.Array,
  summarize: Callable[[Any, loop.History], loop.Results],
) -> loop.Study:
  """Line 2: the classifier learns from the whole training part.

  Args:
    fitting: the classifier and its data.
    key: of the run.
    summarize: gets the trained variables and the history.
  """
  everything_N = np.ones(len(fitting.label_N), bool)

  def round_(learner: Learner, epoch: int):
    learner, loss = fitting.epoch(learner, everything_N, key, epoch)
    return learner, {"loss": loss} | fitting.validation(learner.variables)

  return loop.Study(
    init=lambda: fitting.learner(fitting.draw(key)),
    round=round_,
    evaluate=lambda learner: {},
    summarize=lambda learner, history: summarize(learner.variables, history),
  )


class Cleaning:
  """Lines 3 to 16 with one system, for any initialisation."""

  def __init__(
    self, config: ml_collections.ConfigDict, fitting: Fitting, system: System
  ):
    """Compiles.

    Args:
      config: a whole config.
      fitting: the classifier and its data.
      system: who chooses.
    """
    self._config = config
    self._fitting = fitting
    self._system = system
    self._policy = {
      "network": PolicyNetwork(tuple(config.policy.widths)),
      "logistic": LogisticPolicy(),
      "": None,
    }[system.policy]
    self._tx = optax.adam(config.policy.learning_rate)
    # Not of the seed alone: that permutes the noise, and only one kind of it
    # would be sampled.
    rng = np.random.default_rng((config.seed, _NUM_SAMPLED))
    self._sampled_M = np.sort(
      rng.permutation(len(fitting.label_N))[:_NUM_SAMPLED]
    )
    self._select = jax.jit(self._selection)
    self._learn = jax.jit(functools.partial(self._updated, system.reward))
    self._pretrain = jax.jit(self._pretrained)

  def study(
    self,
    key: jax.Array,
    variables,
    counts: Sequence[int] | None,
    summarize: Callable[[State, Selection, loop.History], loop.Results],
  ) -> loop.Study:
    """One initialisation, for `loop.run`.

    Args:
      key: of the run.
      variables: of the pretrained classifier.
      counts: for a rival of RLPS, how many that retained in each epoch, and
        then in the end.
      summarize: gets the last state, the final selection (who has a probability
        of 0.5 or more) and the history.
    """
    fitting, config = self._fitting, self._config
    key = fitting.place(key)
    counts = counts or [len(fitting.label_N)] * (config.num_epochs + 1)

    def round_(state: State, epoch: int):
      selection, kept_N = self._select(state, key, epoch, counts[epoch], False)
      retained_N = np.asarray(kept_N)
      learner, loss = fitting.epoch(
        state.learner, retained_N, key, config.pretraining_epochs + epoch
      )
      features_NxD, true_N = fitting.extract(learner.variables)
      figures = fitting.validation(learner.variables)
      f1 = fitting.place(figures["validation_macro_f1"])
      reward_N = self._rewards(
        self._system.reward, true_N, kept_N, f1 - state.validation_f1
      )
      policy = state.policy
      if self._policy is not None:
        pass_key = _epoch_key(key, Use.PASS, epoch)
        policy = self._learn(policy, selection, reward_N, pass_key)
      state = state.replace(
        learner=learner,
        policy=policy,
        features_NxD=features_NxD,
        true_probability_N=true_N,
        validation_f1=f1,
      )
      record = self._record(retained_N, np.asarray(reward_N))
      state = _keep_best(state, figures["validation_macro_recall"], epoch + 1)
      return state, {"loss": loss} | figures | record

    def finish(state: State, history: loop.History) -> loop.Results:
      selection, kept_N = self._select(
        state, key, config.num_epochs, counts[-1], True
      )
      last = selection._replace(retained_N=kept_N)
      return summarize(state, last, history)

    return loop.Study(
      init=lambda: self._start(key, variables),
      round=round_,
      evaluate=lambda state: {},
      summarize=finish,
    )

  def _start(self, key: jax.Array, variables) -> State:
    """Line 2's end: the policy's pretraining with the classifier as it is."""
    fitting = self._fitting
    learner = fitting.learner(variables)
    features_NxD, true_N = fitting.extract(learner.variables)
    f1 = fitting.validation(learner.variables)["validation_macro_f1"]
    policy = {}
    if self._policy is not None:
      policy = self._pretrain(features_NxD, true_N, key)
    return State(
      learner=learner,
      policy=policy,
      features_NxD=features_NxD,
      true_probability_N=true_N,
      validation_f1=fitting.place(f1),
      best_variables=jax.tree.map(jnp.copy, learner.variables),
      best_score=fitting.place(jnp.float32(-1)),
      best_epoch=fitting.place(jnp.int32(0)),
    )

  def _selection(
    self, state: State, key, epoch, count, is_final
  ) -> tuple[Selection, jax.Array]:
    """Lines 4 to 12, by whatever strategy; and who stays with the floor."""
    label_N = self._fitting.label_N
    if self._system.strategy == POLICY:
      found = self._pass(
        state.policy,
        state.features_NxD,
        _epoch_key(key, Use.PASS, epoch),
        is_final,
      )
    else:
      score_N = {
        strategies.ALL: lambda: jnp.ones(len(label_N)),
        strategies.SMALL_LOSS: lambda: state.true_probability_N,
        # The same order in every epoch: what is removed is never seen.
        strategies.RANDOM: lambda: jax.random.uniform(
          jax.random.fold_in(key, Use.RANDOM_REMOVAL), (len(label_N),)
        ),
      }[self._system.strategy]()
      found = Selection(
        strategies.first_of(score_N, count), score_N, jnp.zeros((0, 0))
      )
    if not self._config.retention_floor or self._policy is None:
      return found, found.retained_N
    return found, strategies.with_floor(
      *(found.retained_N, found.probability_N, label_N),
      *(len(self._fitting.material.classes), self._config.retention_floor),
    )

  def _pass(self, policy: Policy, features_NxD, key, is_final) -> Selection:
    order_key, action_key, _ = jax.random.split(key, 3)
    num_examples = len(features_NxD)
    uniform_N = jax.random.uniform(action_key, (num_examples,))
    uniform_N = jnp.where(is_final, 0.5, uniform_N)
    order_N = jax.random.permutation(order_key, num_examples)
    return selector.select(
      self._policy, policy.params, features_NxD, order_N, uniform_N
    )

  def _rewards(self, kind, true_N, retained_N, f1_change) -> jax.Array:
    """Of each example: its own, or the selection's, the same for all of it."""
    if kind == rewards.F1:
      return jnp.broadcast_to(f1_change, true_N.shape)
    if kind == rewards.LIKELIHOOD:
      shared = rewards.likelihood_reward(true_N, retained_N)
      return jnp.broadcast_to(shared, true_N.shape)
    return rewards.probability_rewards(true_N)

  def _updated(
    self, kind, policy: Policy, selection: Selection, reward_N, pass_key
  ) -> Policy:
    """Line 15: the policy learns from a pass."""
    credit_N = reward_N
    if kind == rewards.PROBABILITY:
      credit_N = rewards.credits(
        reward_N, selection.retained_N, self._config.policy.removed_credit
      )
    *_, shuffle_key = jax.random.split(pass_key, 3)
    return rewards.update(
      self._tx,
      *(self._policy, policy, selection, credit_N, shuffle_key),
      self._config.policy.batch_size,
    )

  def _pretrained(self, features_NxD, true_N, key) -> Policy:
    """Passes and updates with the classifier as it is.

    Its F1 does not change then, and says nothing: RLPS+F1 begins with Eq. (2).
    """
    kind = self._system.reward
    if kind == rewards.F1:
      kind = rewards.PROBABILITY
    state_1xK = jnp.zeros((1, 2 * features_NxD.shape[1]))
    params = self._policy.init(
      jax.random.fold_in(key, Use.POLICY_WEIGHTS), state_1xK
    )["params"]

    def epoch(policy: Policy, number):
      pass_key = _epoch_key(key, Use.POLICY_PRETRAINING, number)
      selection = self._pass(policy, features_NxD, pass_key, False)
      reward_N = self._rewards(kind, true_N, selection.retained_N, 0.0)
      return self._updated(kind, policy, selection, reward_N, pass_key), None

    start = Policy(params, self._tx.init(params))
    numbers = jnp.arange(self._config.policy.pretraining_epochs)
    return jax.lax.scan(epoch, start, numbers)[0]

  def _record(self, retained_N, reward_N) -> dict[str, np.ndarray]:
    """What is kept of an epoch: how many stayed, and what that was worth."""
    material = self._fitting.material
    count = retained_N.sum()
    label_N = material.parts["train"].label_N
    return {
      "retained": np.int32(count),
      "retained_of_kinds": np.bincount(
        material.kind_N[retained_N], minlength=len(material.kinds)
      ),
      "retained_of_classes": np.bincount(
        label_N[retained_N], minlength=len(material.classes)
      ),
      # Eq. (3) is the sum.
      "reward": np.float32(reward_N[retained_N].sum() / max(count, 1)),
      "sampled": self._sampled_M,
      "sampled_rewards": reward_N[self._sampled_M],
    }


def _epoch_key(key: jax.Array, use: Use, epoch) -> jax.Array:
  return jax.random.fold_in(jax.random.fold_in(key, use), epoch)


def _keep_best(state: State, score, epoch: int) -> State:
  """Keeps the classifier if none had a better validation before it."""
  if float(score) <= float(state.best_score):
    return state
  return state.replace(
    best_variables=jax.tree.map(jnp.copy, state.learner.variables),
    best_score=jnp.full_like(state.best_score, score),
    best_epoch=jnp.full_like(state.best_epoch, epoch),
  )
