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
from collections.abc import Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from emojax import checks, encoders, loop, runs
from emojax.data import clips, faces, noise, splits
from emojax.data.noise import NoisyDataset, Part
from emojax.errors import UserError
from emojax.metrics import confusion_figures
from emojax.models import selector
from emojax.models.selector import F1, LIKELIHOOD, PROBABILITY, Selection
from emojax.reports import rlps as reports
from emojax.reports import tables
from emojax.runs import Run
from emojax.runtime import memory, sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.summary import Summary
from emojax.systems import classifiers
from emojax.systems.classifiers import Classifier
from emojax.trainers import fit, optimizers
from emojax.trainers.fit import Best, Learner

# Corpora of faces are split by their authors: what is in two parts is counted
# in a warning, and stays there.
AUDITED = "images that are in more than one part, if any, are named above"

_NUM_SAMPLED = 100  # Examples whose rewards are kept of every epoch: Fig. 8.
# Who chooses. The last two retain as many as RLPS did, epoch by epoch.
ALL, POLICY, SMALL_LOSS, RANDOM = "all", "policy", "small_loss", "random"


@dataclasses.dataclass(frozen=True)
class System:
  """A row of the tables.

  Attributes:
    name: behind the classifier's, such as "RLPS"; "" for the classifier alone.
    strategy: who chooses.
    policy: of a `POLICY`: "network" or "logistic".
    reward: of a `POLICY`: see `selector.rewards`.
  """

  name: str
  strategy: str
  policy: str = ""
  reward: str = ""


SYSTEMS = {
  "none": System("", ALL),
  "sigmoid": System("Sigmoid", POLICY, "logistic", LIKELIHOOD),
  "rlps_f1": System("RLPS+F1", POLICY, "network", F1),
  "rlps": System("RLPS", POLICY, "network", PROBABILITY),
  "small_loss": System("small loss", SMALL_LOSS),
  "random": System("random", RANDOM),
}
_RIVALS = [
  n for n, one in SYSTEMS.items() if one.strategy in (SMALL_LOSS, RANDOM)
]


class Use(enum.IntEnum):
  """What a run draws random numbers for; each has a key of its own."""

  WEIGHTS = 0
  ORDER = 1  # Of the examples in an epoch.
  STEP = 2  # Dropout and random views.
  POLICY_WEIGHTS = 3
  POLICY_PRETRAINING = 4
  PASS = 5
  RANDOM_REMOVAL = 6


@flax.struct.dataclass
class Policy:
  """The policy's parameters, and the state of their optimizer."""

  params: Any
  optimizer: optax.OptState


@flax.struct.dataclass
class State:
  """What Algorithm 1 changes.

  Attributes:
    learner: the classifier.
    policy: a `Policy`; an empty tree where there is no selector.
    features_NxD: of the training part, by the classifier as it is.
    true_N: the probability that it gives to the labels.
    validation_f1: Eq. (7), of the classifier as it is.
    best: the classifier at the best validation so far.
  """

  learner: Learner
  policy: Any
  features_NxD: jax.Array
  true_N: jax.Array
  validation_f1: jax.Array
  best: Best


class ClassifierTraining:
  """A classifier and a data set on the devices, for any initialisation.

  Steps are dispatched from Python: on a CPU a convolution in a loop of XLA's is
  40 times slower, and the number of steps depends on how many are retained.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    classifier: Classifier,
    data: NoisyDataset,
  ):
    """Puts the data on the devices and compiles; `config` is a whole one."""
    self.data = data
    self._batch_size = config.batch_size
    self._optimizer = config.optimizer
    self._mesh = sharding.make_mesh(jax.device_count())
    self._inputs = {
      name: self.place(part.inputs()) for name, part in data.parts.items()
    }
    self.label_N = self.place(data.train.label_N)
    tx = optimizers.sgd(
      *(config.optimizer.learning_rate, config.optimizer.momentum),
      *(config.optimizer.weight_decay, config.optimizer.clip_value),
    )
    self._draw = jax.jit(classifier.init, compiler_options=sharding.RUNS_ONCE)
    self._init_learner = jax.jit(functools.partial(fit.init_learner, tx))
    loss = functools.partial(classifier_loss, classifier)
    self._step = sharding.mapped(
      functools.partial(fit.train_step, loss, tx),
      self._mesh,
      (*[REPLICATED] * 4, DATA, DATA),
      (REPLICATED, REPLICATED),
      donate_argnums=(0,),
    )
    self._outputs = sharding.mapped(
      functools.partial(_outputs, classifier),
      self._mesh,
      (REPLICATED, REPLICATED, DATA),
      DATA,
    )
    self._observe = jax.jit(selector.observe)

  def draw(self, key: jax.Array) -> Any:
    """The classifier's first variables, drawn on one device.

    Where several draw, what an initialiser calls of LAPACK may block them all.
    """
    example = jax.tree.map(lambda x: np.asarray(x[:1]), self._inputs["train"])
    return self._draw(jax.random.fold_in(key, Use.WEIGHTS), example)

  def learner(self, variables: Any) -> Learner:
    """A classifier before its training; its memory is its own."""
    return self._init_learner(self.place(variables))

  def epoch(
    self, learner: Learner, retained_N: np.ndarray, key: jax.Array, epoch: int
  ) -> tuple[Learner, jax.Array]:
    """Line 13: trains once on all examples that are retained.

    Args:
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
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(retained_N))
    index_CxB, weight_CxB = fit.filled_batches(rows, self._batch_size)
    step_key = self.place(_key(key, Use.STEP, epoch))
    # Lower by a factor every few epochs after a while.
    times = max(0, epoch - self._optimizer.decay_start)
    times //= self._optimizer.decay_every
    rate = self._optimizer.learning_rate * self._optimizer.decay_rate**times
    learner = learner.replace(
      optimizer=optimizers.with_learning_rate(
        learner.optimizer, self.place(np.float32(rate))
      )
    )
    total = jnp.float32(0)
    for index_B, weight_B in zip(index_CxB, weight_CxB, strict=True):
      learner, metrics = self._step(
        *(learner, step_key, self._inputs["train"], self.label_N),
        *(self._cut(index_B), self._cut(weight_B)),
      )
      total += metrics["loss"]
    return learner, total / len(index_CxB)

  def extract(self, variables: Any) -> tuple[jax.Array, jax.Array]:
    """Lines 4 and 14: what `selector.observe` gives for the training part.

    One pass does for both lines, since the classifier is the same at the end of
    an epoch and at the beginning of the next.
    """
    found = self.place(self.predict(variables, "train"))
    return self._observe(*found, self.label_N)

  def predict(self, variables: Any, part: str) -> list[np.ndarray]:
    """Logits [n, K] and features [n, D] of all examples of a part."""
    count = len(self.data.parts[part])
    index_CxB, _ = fit.filled_batches(np.arange(count), self._batch_size)
    outputs = fit.predict_all(
      lambda index_B: self._outputs(
        variables, self._inputs[part], self._cut(index_B)
      ),
      index_CxB,
    )
    return [values[:count] for values in outputs]

  def confusion(self, variables: Any, part: str) -> np.ndarray:
    """Counts [K, K]: true classes in rows, predicted ones in columns."""
    logits_NxK, _ = self.predict(variables, part)
    return fit.confusion(logits_NxK, self.data.parts[part].label_N)

  def validate(self, variables: Any) -> dict[str, np.ndarray]:
    """Figures of the validation part, and its confusion matrix."""
    confusion_KxK = self.confusion(variables, "validation")
    figures = confusion_figures(confusion_KxK)
    return {
      "validation_confusion_matrix": confusion_KxK,
      **{f"validation_{k}": np.float32(v) for k, v in figures.items()},
    }

  def place(self, tree: Any) -> Any:
    """Puts arrays on all devices."""
    return sharding.place(tree, self._mesh, REPLICATED)

  def _cut(self, batch: np.ndarray) -> jax.Array:
    return sharding.place(batch, self._mesh, DATA)


def classifier_loss(
  classifier: Classifier,
  params: Any,
  model_state: Any,
  key: jax.Array,
  inputs: Any,
  label_N: jax.Array,
  index_B: jax.Array,
  weight_B: jax.Array,
) -> tuple[jax.Array, tuple[dict, Any]]:
  """Eq. (5) on this device's part of a batch; see `fit.train_step`.

  Args:
    classifier: what is trained.
    params, model_state: its variables.
    key: of dropout and random views.
    inputs: all examples of the training part.
    label_N: their classes.
    index_B: the examples of the batch.
    weight_B: 0 where an example only fills the batch up.
  """
  logits_BxK, _, changed = classifier.apply(
    {"params": params, **model_state}, _take(inputs, index_B), True, key
  )
  targets_BxK = jax.nn.one_hot(label_N[index_B], logits_BxK.shape[1])
  loss = fit.weighted_cross_entropy(logits_BxK, targets_BxK, weight_B)
  return loss, ({"loss": loss}, {**model_state, **changed})


def _outputs(classifier: Classifier, variables, inputs, index_B):
  """Logits [B, K] and features [B, D] of some examples of a part."""
  # Nothing is random without training: any key does.
  key = jax.random.key(0)
  return classifier.apply(variables, _take(inputs, index_B), False, key)[:2]


def _take(inputs: Any, index_B: jax.Array) -> Any:
  return jax.tree.map(lambda values: values[index_B], inputs)


def _key(key: jax.Array, use: Use, epoch: Any) -> jax.Array:
  return jax.random.fold_in(jax.random.fold_in(key, use), epoch)


def update_policy(
  tx: optax.GradientTransformation,
  network: nn.Module,
  policy: Policy,
  selection: Selection,
  value_N: jax.Array,
  key: jax.Array,
  batch_size: int,
) -> Policy:
  """Line 15: once through the pass, in shuffled batches.

  Args:
    tx: the policy's optimizer.
    network: gives logits of states.
    policy: before the update.
    selection: the pass.
    value_N: see `selector.action_values`.
    key: of the shuffling.
    batch_size: examples of one step; what is left over at the end waits for
      another epoch. All of them in one step where there are fewer.
  """
  size = min(batch_size, len(value_N))
  order_N = jax.random.permutation(key, len(value_N))
  batches = order_N[: len(order_N) // size * size].reshape(-1, size)

  def step(policy: Policy, index_B):
    of_batch = (selection.state_NxK, selection.retained_N, value_N)
    grads = jax.grad(selector.policy_loss)(
      policy.params, network, *(values[index_B] for values in of_batch)
    )
    updates, optimizer = tx.update(grads, policy.optimizer, policy.params)
    return Policy(optax.apply_updates(policy.params, updates), optimizer), None

  return jax.lax.scan(step, policy, batches)[0]


class SelectorTraining:
  """Lines 3 to 16 with one system, for any initialisation."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    classifier: ClassifierTraining,
    system: System,
  ):
    """Compiles; `config` is a whole one, `system` says who chooses."""
    self._config = config
    self._classifier = classifier
    self._system = system
    self._network = {
      "network": selector.PolicyNetwork(tuple(config.policy.widths)),
      "logistic": selector.LogisticPolicy(),
      "": None,
    }[system.policy]
    self._tx = optax.adam(config.policy.learning_rate)
    # Not of the seed alone: that permutes the noise, and only one kind of it
    # would be sampled.
    rng = np.random.default_rng((config.seed, _NUM_SAMPLED))
    order_N = rng.permutation(len(classifier.data.train))
    self._sampled_M = np.sort(order_N[:_NUM_SAMPLED])
    self._select = jax.jit(self._selection)
    self._learn = jax.jit(functools.partial(self._update, system.reward))
    self._pretrain = jax.jit(self._pretrained)

  def study(
    self, key: jax.Array, variables: Any, counts: Sequence[int]
  ) -> loop.Study:
    """One initialisation, for `runs.Grid.train`.

    Args:
      key: of the run.
      variables: of the pretrained classifier.
      counts: how many a rival retains in each epoch, and then in the end.
    """
    key = self._classifier.place(key)
    return loop.Study(
      init=functools.partial(self._init, key, variables),
      round=functools.partial(self._round, key, counts),
      evaluate=lambda state: {},
      summarize=functools.partial(self._summarize, key, counts[-1]),
    )

  def _init(self, key: jax.Array, variables: Any) -> State:
    """Line 2's end: the policy's pretraining with the classifier as it is."""
    classifier = self._classifier
    learner = classifier.learner(variables)
    features_NxD, true_N = classifier.extract(learner.variables)
    policy = {}
    if self._network is not None:
      state_1xK = jnp.zeros((1, 2 * features_NxD.shape[1]))
      weights_key = jax.random.fold_in(key, Use.POLICY_WEIGHTS)
      params = jax.jit(self._network.init)(weights_key, state_1xK)["params"]
      policy = self._pretrain(params, features_NxD, true_N, key)
    f1 = classifier.validate(learner.variables)["validation_f1_of_averages"]
    best = fit.init_best(learner)
    f1, best = classifier.place((f1, best))
    return State(learner, policy, features_NxD, true_N, f1, best)

  def _pretrained(self, params, features_NxD, true_N, key) -> Policy:
    """Passes and updates with the classifier as it is.

    Its F1 does not change then, and says nothing: RLPS+F1 begins with Eq. (2).
    """
    kind = self._system.reward
    kind = PROBABILITY if kind == F1 else kind

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
    classifier = self._classifier
    selection, kept_N = self._select(state, key, epoch, counts[epoch], False)
    retained_N = np.asarray(kept_N)
    learner, loss = classifier.epoch(
      state.learner, retained_N, key, self._config.pretraining_epochs + epoch
    )
    features_NxD, true_N = classifier.extract(learner.variables)
    figures = classifier.validate(learner.variables)
    f1 = classifier.place(figures["validation_f1_of_averages"])
    reward_N = selector.rewards(
      self._system.reward or PROBABILITY,
      *(true_N, kept_N, f1 - state.validation_f1),
    )
    policy = state.policy
    if self._network is not None:
      pass_key = _key(key, Use.PASS, epoch)
      policy = self._learn(policy, selection, reward_N, pass_key)
    best = fit.keep_best(state.best, learner, figures[reports.CURVE], epoch + 1)
    record = self._record(retained_N, np.asarray(reward_N))
    state = State(learner, policy, features_NxD, true_N, f1, best)
    return state, {"loss": loss} | figures | record

  def _selection(
    self, state: State, key, epoch, count, is_final
  ) -> tuple[Selection, jax.Array]:
    """Lines 4 to 12, by whatever strategy; and who stays with the floor."""
    label_N = self._classifier.label_N
    if self._system.strategy == POLICY:
      pass_key = _key(key, Use.PASS, epoch)
      found = selector.random_pass(
        *(self._network, state.policy.params, state.features_NxD),
        *(pass_key, is_final),
      )
    else:
      # The same random order in every epoch: what is removed is never seen.
      order_key = jax.random.fold_in(key, Use.RANDOM_REMOVAL)
      score_N = {
        ALL: jnp.ones(len(label_N)),
        SMALL_LOSS: state.true_N,
        RANDOM: jax.random.uniform(order_key, (len(label_N),)),
      }[self._system.strategy]
      retained_N = selector.first_of(score_N, count)
      found = Selection(retained_N, score_N, jnp.zeros((0, 0)))
    if not self._config.retention_floor or self._network is None:
      return found, found.retained_N
    return found, selector.with_floor(
      *(found.retained_N, found.probability_N, label_N),
      *(len(self._classifier.data.classes), self._config.retention_floor),
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

  def _record(self, retained_N, reward_N) -> dict[str, np.ndarray]:
    """What is kept of an epoch: how many stayed, and what that was worth."""
    data = self._classifier.data
    return {
      **data.counts(retained_N),
      # Eq. (3) is the sum.
      "reward": np.float32(
        reward_N[retained_N].sum() / max(retained_N.sum(), 1)
      ),
      "sampled": self._sampled_M,
      "sampled_rewards": reward_N[self._sampled_M],
    }

  def _summarize(
    self, key: jax.Array, count: int, state: State, history: loop.History
  ) -> runs.Result:
    """The final selection; and the test part, once."""
    selection, kept_N = self._select(
      state, key, self._config.num_epochs, count, True
    )
    confusion_KxK = self._classifier.confusion(state.best.variables, "test")
    retained_N = np.asarray(kept_N)
    outputs = {"confusion": confusion_KxK}
    if self._system.strategy != ALL:
      probability_N = np.asarray(selection.probability_N)
      outputs |= {"retained": retained_N, "probability": probability_N}
    figures = {
      "best_epoch": int(state.best.when),
      reports.CURVE: float(state.best.score),
      **reports.figures_of_run(
        self._classifier.data, confusion_KxK, retained_N, history
      ),
    }
    return runs.Result(figures, outputs)


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
  _check(config)
  study = functools.partial(_study, config)
  summary = runs.complete(config, workdir, study)
  print(tables.terminal_table(summary))
  return summary


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Who is in which part, as Markdown tables by setting.

  Raises:
    UserError: whatever is wrong with the data.
  """
  _check(config)
  return {data.setting: reports.parts_table(data) for data in _read(config)}


def _study(
  config: ml_collections.ConfigDict, grid: runs.Grid
) -> tuple[Summary, runs.Files]:
  """Every setting, initialisation and system, and the report."""
  data_sets = _read(config)
  for data in data_sets:
    print(f"{data.setting}\n{reports.parts_table(data)}\n")
  classifier = classifiers.make(config, data_sets[0].classes)
  outcomes = []
  for data in data_sets:
    training = ClassifierTraining(config, classifier, data)
    selectors = {
      name: SelectorTraining(config, training, SYSTEMS[name])
      for name in config.systems
    }
    for seed in range(config.num_replicates):
      outcomes += _initialisation(config, grid, training, selectors, seed)
  by_row, history = runs.by_row(outcomes), runs.histories(outcomes)
  systems = {
    name: "+".join(filter(None, (classifier.name, SYSTEMS[name].name)))
    for name in config.systems
  }
  learned = [name for name in systems if SYSTEMS[name].strategy == POLICY]
  summary = reports.summarize(config, data_sets, by_row, systems)
  return summary, {
    **reports.files(config, data_sets, by_row, summary, learned),
    "history.npz": lambda path: np.savez_compressed(path, **history),
  }


def _initialisation(
  config: ml_collections.ConfigDict,
  grid: runs.Grid,
  training: ClassifierTraining,
  selectors: dict[str, SelectorTraining],
  seed: int,
) -> list[runs.Outcome]:
  """All systems, from one pretrained classifier."""
  key = jax.random.fold_in(jax.random.key(config.seed), seed)
  setting, num_examples = training.data.setting, len(training.data.train)

  def trained(system: str, study: loop.Study, num_epochs: int) -> runs.Outcome:
    with memory.explained("config.batch_size, or config.data.image_size"):
      return grid.train(Run(setting, system, seed), study, num_epochs)

  start = trained(
    "pretraining", _pretraining(training, key), config.pretraining_epochs
  ).weights
  outcomes = {}
  for name, one in selectors.items():
    counts = [num_examples] * (config.num_epochs + 1)
    if name in _RIVALS:
      rlps = outcomes["rlps"]
      counts = [*rlps.history["retained"].tolist(), rlps.figures["retained"]]
    study = one.study(key, start, counts)
    outcomes[name] = trained(name, study, config.num_epochs)
  return list(outcomes.values())


def _pretraining(training: ClassifierTraining, key: jax.Array) -> loop.Study:
  """Line 2: the classifier learns from the whole training part."""
  everything_N = np.ones(len(training.data.train), bool)

  def round_(learner: Learner, epoch: int):
    learner, loss = training.epoch(learner, everything_N, key, epoch)
    return learner, {"loss": loss} | training.validate(learner.variables)

  def summarize(learner: Learner, history: loop.History) -> runs.Result:
    last = float(history[reports.CURVE][-1])
    return runs.Result({reports.CURVE: last}, weights=learner.variables)

  return loop.Study(
    init=lambda: training.learner(training.draw(key)),
    round=round_,
    evaluate=lambda learner: {},
    summarize=summarize,
  )


def _read(config: ml_collections.ConfigDict) -> list[NoisyDataset]:
  """The data once for each split and kind of noise."""
  is_speech = config.model.classifier == classifiers.SPEECH
  clean_sets = _read_clips(config) if is_speech else faces.read(config)
  return [
    noise.add(clean, name, config.data, config.seed)
    for clean in clean_sets
    for name in config.data.noise
  ]


def _read_clips(config: ml_collections.ConfigDict) -> list[NoisyDataset]:
  """The clips once for each split; of each the first `max_seconds`."""
  encoder = encoders.find(config.model.classifier).encoder
  found, _ = clips.read(config, encoder.min_samples)
  size = round(config.data.max_seconds * clips.SAMPLE_RATE)
  audio_UxS = np.zeros((len(found.class_U), size), np.int16)
  length_U = np.zeros(len(found.class_U), np.int32)
  for row, audio in enumerate(found.audio):
    audio = audio[:size]
    audio_UxS[row, : len(audio)], length_U[row] = audio, len(audio)
  source = {"audio": audio_UxS, "length": length_U}
  label_U = found.class_U.astype(np.int32)
  clean = [
    noise.as_it_is(
      classes=found.classes,
      parts={
        part: Part(source, rows, label_U[rows])
        for part, rows in split.parts.items()
      },
      name_N=found.path_U[split.parts["train"]],
      demo=found.demo,
      split=name if len(found.splits) > 1 else "",
    )
    for name, split in found.splits.items()
  ]
  return clean


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  checks.positive(
    config,
    *("num_replicates", "pretraining_epochs", "num_epochs", "batch_size"),
    *("checkpoint_every", "optimizer.learning_rate", "optimizer.decay_every"),
    *("optimizer.decay_rate", "policy.widths", "policy.batch_size"),
    "policy.learning_rate",
  )
  checks.not_negative(
    config,
    *("optimizer.weight_decay", "optimizer.clip_value", "data.max_skipped"),
    *("optimizer.decay_start", "policy.pretraining_epochs", "seed"),
  )
  checks.fraction(config, "optimizer.momentum", "retention_floor")
  checks.choices(config, "systems", tuple(SYSTEMS))
  if not -1 <= config.policy.removed_credit <= 1:
    raise UserError(
      f"config.policy.removed_credit = {config.policy.removed_credit}: has to "
      "be from -1 to 1"
    )
  if not config.systems:
    raise UserError("config.systems: name one at least")
  if config.seed >= 2**32:
    raise UserError(f"config.seed = {config.seed}: has to be below 2^32")
  rivals = [name for name in config.systems if name in _RIVALS]
  place = {name: index for index, name in enumerate(config.systems)}
  if any(place.get("rlps", len(place)) > place[name] for name in rivals):
    raise UserError(
      f"config.systems = {config.systems}: {rivals[0]} removes as many as rlps "
      "does; name rlps before it"
    )
  if config.batch_size % jax.device_count():
    raise UserError(
      f"config.batch_size = {config.batch_size}: has to be a multiple of the "
      f"{jax.device_count()} devices, over which a batch is cut"
    )
  noise.check(config)
  classifiers.check(config)
  if config.model.classifier == classifiers.SPEECH:
    checks.choice(config, "split.method", splits.METHODS)
    if "intercepted" in config.data.noise:
      raise UserError("config.data.noise: intercepted noise is of images")
  elif config.split.method != "official":
    raise UserError(
      f"config.split.method = {config.split.method!r}: corpora of faces come "
      "in parts; set it to official"
    )
