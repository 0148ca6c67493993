"""RLPS: a reinforced selector cleans the training set of a classifier.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition", Algorithm 1. From top to bottom: the systems,
what changes, the classifier (lines 2, 13 and 14), the policy's update (line
15), a run with a selector (lines 3 to 16), and the study. The pass over the
training set (lines 4 to 12) and its rewards are in `models.selector`.

N examples of the training part, B of a batch, K classes, D features.
"""

import dataclasses
import enum
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from emojax import encoders, loop, runs
from emojax.data import faces, noise
from emojax.data.noise import NoisyDataset
from emojax.errors import UserError
from emojax.metrics import confusion_figures
from emojax.models import selector
from emojax.models.selector import F1, PROBABILITY, Selection
from emojax.reports import rlps as reports
from emojax.reports import tables
from emojax.runs import Run
from emojax.runtime import hosts, memory
from emojax.summary import Summary
from emojax.systems import classifiers
from emojax.systems.classifiers import Classifier
from emojax.trainers import fit, optimizers, rlps_checks, rlps_s, trained
from emojax.trainers.fit import Best, Learner
from emojax.trainers.rlps_policy import Policy, update_policy
from emojax.trainers.selecting import (
  ALL,
  FOLDS,
  POLICY,
  RANDOM,
  RIVALS,
  SMALL_LOSS,
  SYSTEMS,
  System,
)

# Corpora of faces are split by their authors: what is in two parts is counted,
# and stays there. Clips are split by speaker, and checked.
AUDITED = (
  "but for what is named above no recording, no image and no known speaker is "
  "in two parts; who is in pictures is not known"
)

_F1 = "validation_f1_of_averages"  # Eq. (7).
_NUM_SAMPLED = 100  # Examples whose rewards are kept of every epoch: Fig. 8.


class Use(enum.IntEnum):
  """What a run draws random numbers for; each has a key of its own."""

  WEIGHTS = 0
  ORDER = 1  # Of the examples in an epoch.
  STEP = 2  # Dropout and random views.
  POLICY_WEIGHTS = 3
  POLICY_PRETRAINING = 4
  PASS = 5
  RANDOM_REMOVAL = 6
  FOLD = 7
  LABEL_POLICY = 8


@flax.struct.dataclass
class State:
  """What Algorithm 1 changes.

  Attributes:
    learner: the classifier.
    policy: a `Policy`; a `rlps_s.Chosen` that stands from the beginning; or an
      empty tree where there is no selector.
    features_NxD: of the training part, by the classifier as it is. Like the
      two that follow a lone zero where nobody looks at it.
    size_D: what these features were divided by.
    log_odds_N: of the labels, as it sees them.
    validation_f1: Eq. (7), of the classifier as it is.
    best: the classifier at the best validation so far.
  """

  learner: Learner
  policy: Any
  features_NxD: jax.Array
  size_D: jax.Array
  log_odds_N: jax.Array
  validation_f1: jax.Array
  best: Best


def optimizer(
  config: ml_collections.ConfigDict,
) -> optax.GradientTransformation:
  """The classifier's, from `config.optimizer`."""
  return optimizers.sgd(
    *(config.optimizer.learning_rate, config.optimizer.momentum),
    *(config.optimizer.weight_decay, config.optimizer.clip_value),
  )


def classifier_epoch(
  config: ml_collections.ConfigDict,
  examples: fit.Examples,
  learner: Learner,
  retained_N: np.ndarray,
  key: jax.Array,
  epoch: int,
) -> tuple[Learner, jax.Array]:
  """Line 13: trains once on all examples that are retained, Eq. (5).

  Args:
    config: a whole config.
    examples: the classifier and its data.
    learner: before the epoch; it is donated.
    retained_N: bool, on the host. Without any the classifier stays as it is.
    key: of the run.
    epoch: since the first of the pretraining.

  Returns:
    The classifier, and the mean loss of its batches, 0 where there is none.
  """
  if not retained_N.any():
    return learner, jnp.float32(0)
  seed = np.asarray(jax.random.key_data(_key(key, Use.ORDER, epoch)))
  rows_n = np.random.default_rng(seed).permutation(np.flatnonzero(retained_N))
  # As the public VGG19 has it: lower by a factor every few epochs, after a
  # while.
  times = max(0, epoch - config.optimizer.decay_start)
  times //= config.optimizer.decay_every
  rate = config.optimizer.learning_rate * config.optimizer.decay_rate**times
  learner = learner.replace(
    optimizer=optimizers.with_learning_rate(
      learner.optimizer, examples.place(np.float32(rate))
    )
  )
  return examples.epoch(learner, rows_n, _key(key, Use.STEP, epoch))


def validate(examples: fit.Examples, variables: Any) -> loop.Record:
  """Figures of the validation part, and its confusion matrix."""
  confusion_KxK = examples.confusion(variables, "validation")
  figures = confusion_figures(confusion_KxK)
  return {
    "validation_confusion_matrix": confusion_KxK,
    **{f"validation_{k}": np.float32(v) for k, v in figures.items()},
  }


def pretraining(
  config: ml_collections.ConfigDict,
  examples: fit.Examples,
  key: jax.Array,
  taken_N: np.ndarray | None = None,
) -> loop.Study:
  """Line 2: the classifier learns from the training part, or some of it."""
  if taken_N is None:
    taken_N = np.ones(len(examples.label_N), bool)

  def round_(learner: Learner, epoch: int):
    learner, loss = classifier_epoch(
      config, examples, learner, taken_N, key, epoch
    )
    return learner, {"loss": loss} | validate(examples, learner.variables)

  def summarize(learner: Learner, history: loop.History) -> runs.Result:
    last = float(history[reports.CURVE][-1])
    return runs.Result({reports.CURVE: last}, weights=learner.variables)

  return loop.Study(
    init=lambda: examples.learner(
      examples.draw(jax.random.fold_in(key, Use.WEIGHTS))
    ),
    round=round_,
    evaluate=lambda learner: {},
    summarize=summarize,
  )


def _key(key: jax.Array, use: Use, epoch: Any) -> jax.Array:
  return jax.random.fold_in(jax.random.fold_in(key, use), epoch)


class SelectorTraining:
  """Lines 3 to 16 with one system, for any initialisation."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    data: NoisyDataset,
    examples: fit.Examples,
    system: System,
  ):
    """Compiles.

    Args:
      config: a whole config.
      data: what is cleaned.
      examples: the same on the devices, and the classifier.
      system: who chooses.
    """
    self._config = config
    self._data = data
    self._examples = examples
    self._system = system
    widths = () if system.is_logistic else tuple(config.policy.widths)
    learns = system.strategy == POLICY
    self._network = selector.PolicyNetwork(widths) if learns else None
    # Whether what the classifier makes of the training part is of any use.
    self._looks = system.strategy in (POLICY, SMALL_LOSS)
    self._tx = optax.adam(config.policy.learning_rate)
    # Not of the seed alone: that permutes the noise, and only one kind of it
    # would be sampled.
    rng = np.random.default_rng((config.seed, _NUM_SAMPLED))
    order_N = rng.permutation(len(data.train))
    self._sampled_M = np.sort(order_N[:_NUM_SAMPLED])
    self._observe = jax.jit(selector.observe)
    self._rewards = jax.jit(selector.rewards, static_argnums=0)
    self._select = jax.jit(self._selection)
    self._learn = jax.jit(functools.partial(self._update, system.reward))
    self._pretrain = jax.jit(self._pretrained)

  def study(
    self,
    key: jax.Array,
    variables: Any,
    outputs: Callable[[], Sequence[np.ndarray]],
    chosen: Callable[[], rlps_s.Chosen],
    counts: Sequence[int],
    bounds: Mapping[str, float],
  ) -> loop.Study:
    """One initialisation, for `runs.Grid.train`.

    Args:
      key: of the run.
      variables: of the pretrained classifier.
      outputs: what it makes of the training part.
      chosen: what RLPS-S chooses.
      counts: how many a rival retains in each epoch, and then in the end.
      bounds: see `trained.Kept.bounds`.
    """
    init = functools.partial(self._init, key, variables, outputs, chosen)
    key = self._examples.place(key)
    return loop.Study(
      init=init,
      round=functools.partial(self._round, key, counts),
      evaluate=lambda state: {},
      summarize=functools.partial(self._summarize, key, counts[-1], bounds),
    )

  def _init(self, key: jax.Array, variables: Any, outputs, chosen) -> State:
    """Line 2's end: the policy's pretraining with the classifier as it is."""
    learner = self._examples.learner(variables)
    # A checkpoint holds no empty arrays.
    seen = jnp.zeros((1, 1)), jnp.zeros(1), jnp.zeros(1)
    if self._looks:
      placed = self._examples.place(outputs())
      seen = self._observe(*placed, self._examples.label_N)
    policy = chosen() if self._system.strategy == FOLDS else {}
    if self._network is not None:
      state_1xK = jnp.zeros((1, 2 * seen[0].shape[1]))
      weights_key = jax.random.fold_in(key, Use.POLICY_WEIGHTS)
      params = jax.jit(self._network.init)(weights_key, state_1xK)["params"]
      params, key = self._examples.place((params, key))
      policy = self._pretrain(params, *seen[:2], key)
    f1 = np.float32(0)
    if self._system.reward == F1:
      f1 = validate(self._examples, learner.variables)[_F1]
    features_NxD, log_odds_N, size_D, policy, f1, best = self._examples.place(
      (*seen, policy, f1, fit.init_best(learner))
    )
    return State(learner, policy, features_NxD, size_D, log_odds_N, f1, best)

  def _extract(self, learner: Learner) -> tuple[jax.Array, ...]:
    """Lines 4 and 14: what `selector.observe` gives for the training part.

    One pass does for both lines, since the classifier is the same at the end of
    an epoch and at the beginning of the next.
    """
    outputs = self._examples.predict(learner.variables, "train")
    return self._observe(*self._examples.place(outputs), self._examples.label_N)

  def _pretrained(self, params, features_NxD, log_odds_N, key) -> Policy:
    """Passes and updates with the classifier as it is.

    Its F1 does not change then, and says nothing: RLPS+F1 begins with Eq. (2).
    """
    kind = self._system.reward
    kind = PROBABILITY if kind == F1 else kind
    true_N = jax.nn.sigmoid(log_odds_N)

    def epoch(policy: Policy, number):
      pass_key = _key(key, Use.POLICY_PRETRAINING, number)
      selection = selector.random_pass(
        self._network, policy.params, features_NxD, pass_key, False
      )
      reward_N = selector.rewards(kind, true_N, selection.retained_N, 0.0)
      return self._update(kind, policy, selection, reward_N, pass_key), None

    numbers = jnp.arange(self._config.policy.pretraining_epochs)
    start = Policy(params, self._tx.init(params))
    return jax.lax.scan(epoch, start, numbers)[0]

  def _round(
    self, key: jax.Array, counts: Sequence[int], state: State, epoch: int
  ) -> tuple[State, loop.Record]:
    """Lines 4 to 15."""
    selection, kept_N = self._select(state, key, epoch, counts[epoch], False)
    retained_N = np.asarray(kept_N)
    learner, loss = classifier_epoch(
      *(self._config, self._examples, state.learner, retained_N, key),
      self._config.pretraining_epochs + epoch,
    )
    figures = validate(self._examples, learner.variables)
    best = fit.keep_best(state.best, learner, figures[reports.CURVE], epoch + 1)
    f1 = self._examples.place(figures[_F1])
    state = state.replace(learner=learner, best=best)
    record = {"loss": loss, **figures, **self._data.counts(retained_N)}
    if not self._looks:
      return state, record
    features_NxD, log_odds_N, size_D = self._extract(learner)
    reward_N = self._rewards(
      self._system.reward or PROBABILITY,
      *(jax.nn.sigmoid(log_odds_N), kept_N, f1 - state.validation_f1),
    )
    state = state.replace(
      features_NxD=features_NxD,
      log_odds_N=log_odds_N,
      size_D=size_D,
      validation_f1=f1,
    )
    if self._network is not None:
      pass_key = _key(key, Use.PASS, epoch)
      policy = self._learn(state.policy, selection, reward_N, pass_key)
      state = state.replace(policy=policy)
    reward = np.asarray(reward_N)
    return state, record | {
      # Eq. (3) is the sum.
      "reward": np.float32(reward[retained_N].sum() / max(retained_N.sum(), 1)),
      "sampled": self._sampled_M,
      "sampled_rewards": reward[self._sampled_M],
    }

  def _selection(
    self, state: State, key, epoch, count, is_final
  ) -> tuple[Selection, jax.Array]:
    """Lines 4 to 12, by whatever strategy; and who stays with the floor."""
    label_N = self._examples.label_N
    if self._system.strategy == POLICY:
      pass_key = _key(key, Use.PASS, epoch)
      found = selector.random_pass(
        *(self._network, state.policy.params, state.features_NxD),
        *(pass_key, is_final),
      )
    elif self._system.strategy == FOLDS:
      found = state.policy.selection
    else:
      # The same random order in every epoch: what is removed is never seen.
      order_key = jax.random.fold_in(key, Use.RANDOM_REMOVAL)
      score_N = {
        ALL: jnp.ones(len(label_N)),
        SMALL_LOSS: state.log_odds_N,
        RANDOM: jax.random.uniform(order_key, (len(label_N),)),
      }[self._system.strategy]
      retained_N = selector.first_of(score_N, count)
      found = Selection(retained_N, score_N, jnp.zeros((0, 0)))
    if not self._config.retention_floor or self._network is None:
      return found, found.retained_N
    return found, selector.with_floor(
      *(found.retained_N, found.probability_N, label_N),
      *(len(self._data.classes), self._config.retention_floor),
    )

  def _update(
    self, kind: str, policy: Policy, selection: Selection, reward_N, pass_key
  ) -> Policy:
    """Line 15, with the rewards of this kind."""
    value_N = reward_N
    if kind == PROBABILITY:
      value_N = selector.action_values(
        reward_N, selection.retained_N, self._config.policy.removed_credit
      )
    *_, shuffle_key = jax.random.split(pass_key, 3)
    return update_policy(
      *(self._tx, self._network, policy, selection, value_N, shuffle_key),
      self._config.policy.batch_size,
    )

  def _summarize(
    self,
    key: jax.Array,
    count: int,
    bounds: Mapping[str, float],
    state: State,
    history: loop.History,
  ) -> runs.Result:
    """The final selection; and the test part, once."""
    last = self._config.num_epochs
    selection, kept_N = self._select(state, key, last, count, True)
    retained_N = np.asarray(kept_N)
    sureness, outputs = trained.judge(
      self._examples, self._data.parts, state.best.variables
    )
    parts = {"system": state.best.variables}
    if self._network is not None:
      pass_key = jax.random.key_data(_key(key, Use.PASS, last))
      parts["selector"] = {
        "classifier": state.learner.variables,
        "policy": state.policy.params,
        "size": state.size_D,
      }
      outputs["key"] = np.asarray(pass_key)
    if self._system.strategy != ALL:
      probability_N = np.asarray(selection.probability_N)
      outputs |= {"retained": retained_N, "probability": probability_N}
    if self._system.strategy == FOLDS:
      outputs["log_probability"] = np.asarray(state.policy.log_NxK)
    score = float(state.best.score)
    figures = {
      "best_epoch": int(state.best.when),
      reports.CURVE: score,
      **sureness,
      **reports.figures_of_run(
        *(self._data, outputs["confusion"], retained_N, history)
      ),
    }
    weights = {k: parts[k] for k, bound in bounds.items() if score > bound}
    return runs.Result(figures, outputs, weights or None)


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> Summary:
  """Runs the whole study, or goes on with it, and returns its summary.

  Args:
    config: see `configs/rlps.py`.
    workdir: see `runs.complete`.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
  """
  rlps_checks.check(config, SYSTEMS, RIVALS)
  study = functools.partial(_study, config)
  summary = runs.complete(config, workdir, study)
  print(tables.terminal_table(summary))
  return summary


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Who is in which part, as Markdown tables by setting.

  Raises:
    UserError: whatever is wrong with the data.
  """
  rlps_checks.check(config, SYSTEMS, RIVALS)
  return {data.setting: reports.parts_table(data) for data in _read(config)}


def _study(
  config: ml_collections.ConfigDict, grid: runs.Grid
) -> tuple[Summary, runs.Files]:
  """Every setting, initialisation and system, and the report."""
  with hosts.first_alone():
    data_sets = _read(config)
  audits = {data.setting: reports.parts_table(data) for data in data_sets}
  for setting, table in audits.items():
    print(f"{setting}\n{table}\n")
  described = classifiers.describe(config, data_sets[0].classes)
  classifier = classifiers.of(described)
  policies = [name for name, one in SYSTEMS.items() if one.strategy == POLICY]
  kept = trained.Kept(data_sets[0].setting, config.systems, policies)
  outcomes = []
  for data in data_sets:
    with memory.explained("config.batch_size, or config.data.image_size"):
      outcomes += _setting(config, grid, classifier, data, kept)
  by_row, history = runs.by_row(outcomes), runs.histories(outcomes)
  systems = {
    name: "+".join(filter(None, (classifier.name, SYSTEMS[name].name)))
    for name in config.systems
  }
  learned = [name for name in systems if name in policies]
  summary = reports.summarize(config, data_sets, by_row, systems)
  # A run with a selector is cleaned by that.
  judged = {} if learned else trained.judged(config, data_sets, by_row)
  note = kept.note(summary) + (trained.JUDGED_NOTE if judged else "")
  summary = dataclasses.replace(summary, model=note, audit=audits)
  return summary, {
    **reports.files(config, data_sets, by_row, summary, learned),
    **kept.files(config, described, data_sets[0].train),
    **judged,
    "history.npz": lambda path: np.savez_compressed(path, **history),
  }


def _setting(
  config: ml_collections.ConfigDict,
  grid: runs.Grid,
  classifier: Classifier,
  data: NoisyDataset,
  kept: trained.Kept,
) -> list[runs.Outcome]:
  """All initialisations and systems, from one pretrained classifier each."""
  examples = fit.Examples(
    classifier, data.parts, optimizer(config), config.batch_size
  )
  selectors = {
    name: SelectorTraining(config, data, examples, SYSTEMS[name])
    for name in config.systems
  }
  found = []
  for seed in range(config.num_replicates):
    key = jax.random.fold_in(jax.random.key(config.seed), seed)
    start = grid.train(
      Run(data.setting, "pretraining", seed),
      pretraining(config, examples, key),
      config.pretraining_epochs,
    ).weights
    outputs = functools.cache(
      functools.partial(examples.predict, examples.place(start), "train")
    )
    chosen = functools.partial(
      _by_folds, config, grid, data, examples, seed, key
    )
    outcomes = {}
    for name, one in selectors.items():
      counts = [len(data.train)] * (config.num_epochs + 1)
      if name in RIVALS:
        rlps = outcomes["rlps"]
        counts = [*rlps.history["retained"].tolist(), rlps.figures["retained"]]
      run = Run(data.setting, name, seed)
      study = one.study(key, start, outputs, chosen, counts, kept.bounds(run))
      outcomes[name] = grid.train(run, study, config.num_epochs)
      kept.add(outcomes[name])
    found += outcomes.values()
  return found


def _by_folds(
  config: ml_collections.ConfigDict,
  grid: runs.Grid,
  data: NoisyDataset,
  examples: fit.Examples,
  seed: int,
  key: jax.Array,
) -> rlps_s.Chosen:
  """Who stays by RLPS-S: trains a classifier without each fold for it."""
  num_folds = config.label_policy.folds
  variables = []
  fold_N = rlps_s.folds(len(data.train), num_folds, seed)
  for fold in range(num_folds):
    study = pretraining(
      *(config, examples, _key(key, Use.FOLD, fold)), fold_N != fold
    )
    run = Run(data.setting, f"fold {fold}", seed)
    outcome = grid.train(run, study, config.pretraining_epochs)
    variables.append(examples.place(outcome.weights))
  seen = rlps_s.seen(examples, variables, data, seed)
  policy_key = jax.random.fold_in(key, Use.LABEL_POLICY)
  learned = rlps_s.select(config.label_policy, *seen, policy_key)
  return rlps_s.Chosen(learned.selection, seen[0].log_nxK)


def _read(config: ml_collections.ConfigDict) -> list[NoisyDataset]:
  """The data once for each split and kind of noise."""
  if config.model.classifier == classifiers.SPEECH:
    encoder = encoders.find(classifiers.SPEECH).encoder
    clean_sets = noise.read_clips(config, encoder.min_samples)
  else:
    clean_sets = [faces.read(config.data)]
  halves = any(SYSTEMS[name].strategy == FOLDS for name in config.systems)
  if halves and any(len(one.parts["validation"]) < 2 for one in clean_sets):
    raise UserError(
      f"config.systems = {config.systems}: rlps_s learns from each half of the "
      "validation part, which has one example: add some, or leave it out"
    )
  return [
    noise.add(clean, name, config.data, config.seed)
    for clean in clean_sets
    for name in config.data.noise
  ]
