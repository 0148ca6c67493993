"""DANN: Lian et al., "Domain adversarial learning for emotion recognition".

A system is trained from several initialisations, with several lambdas and
recipes. All these runs are an array axis (see `run_axis`), vmapped inside the
step, with the same batches. Loss and step are the program of one device.

R runs, S seeds, U utterances of the corpus, N utterances of a batch,
C emotions, H size of the representation, E epochs.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from emojax import checks, losses, metrics, runs, summary
from emojax.data import (
  conversations,
  features,
  split_audit,
  text_features,
)
from emojax.data.batches import Evaluation
from emojax.data.conversations import Conversations, Setting, Task
from emojax.data.duplicates import identities
from emojax.errors import UserError
from emojax.models import rivals
from emojax.models.dann import Dann
from emojax.models.recurrent import Packing
from emojax.reports import baselines, tables
from emojax.reports import dann as reports
from emojax.runtime import hosts, memory, sharding
from emojax.runtime.sharding import REPLICA, REPLICATED
from emojax.summary import System
from emojax.systems import stored
from emojax.trainers import held_out, optimizers, recipe_search
from emojax.trainers.recipe_search import SPEAKER, methods, named
from emojax.trainers.run_axis import Cohort, Program, Training

AUDITED = split_audit.AUDITED
audit = conversations.audit


class Recipe(NamedTuple):
  """How a system is trained: numbers, or an array [R] of each for R runs.

  Attributes:
    reversal: lambda of Eq. (5), or what it rises to.
    learning_rate: of Adam.
    ramp: 1 if lambda rises as in Ganin et al. 2016, 0 if it is constant.
    averaging: decay a step of the moving average of the weights that is
      evaluated; 0 evaluates the weights themselves.
    clip_norm: bound on the gradient norm of the encoder with the emotion
      classifier, and of the domain classifier; infinite for none.
  """

  reversal: Any
  learning_rate: Any
  ramp: Any = 0.0
  averaging: Any = 0.0
  clip_norm: Any = np.inf


@flax.struct.dataclass
class State:
  """Of runs side by side; all leaves lead with the run axis, but `step`."""

  step: jax.Array
  params: Any
  optimizer: optax.OptState
  average: Any  # None if no run averages its weights.


# The loss and the step: the program of one device.


def draw_weights(model: nn.Module, widths: Mapping[str, int], seeds_S, key):
  """The first weights of each seed, [S, ...]; `widths` are of the features."""
  features = {name: jnp.zeros((1, width)) for name, width in widths.items()}
  zero_1x1 = jnp.zeros((1, 1), jnp.int32)
  packing = Packing(zero_1x1, zero_1x1 + 1, zero_1x1[0])

  def one_seed(seed):
    return model.init(jax.random.fold_in(key, seed), features, packing, 0.0)

  return jax.vmap(one_seed)(seeds_S)["params"]


def start_runs(tx, averages: bool, weights, seeds_R) -> State:
  """The first state of runs: their weights depend on the seed alone."""
  params = jax.tree.map(lambda weights_S: weights_S[seeds_R], weights)
  average = jax.tree.map(jnp.copy, params) if averages else None
  return State(jnp.int32(0), params, jax.vmap(tx.init)(params), average)


def loss_fn(
  params, model, features, packing, labels_N, speakers_N, reversal, key
):
  """Eq. (5), with the minus sign inside the gradient reversal layer.

  Args:
    params: of one run.
    model: a `Dann`, or a `Rival` of it, which has no domain loss.
    features: normalised, [N, D] for each modality.
    packing: the conversations of the batch.
    labels_N: emotions, -1 where unlabelled.
    speakers_N: domains, -1 where there is no utterance that is learnt from.
    reversal: lambda.
    key: for dropout.

  Returns:
    The sum of the losses, and each: the emotion loss is the mean over labelled
    utterances, the domain loss over these and the unlabelled ones.
  """
  emotion_logits_NxC, out = model.apply(
    {"params": params},
    features,
    packing,
    reversal,
    train=True,
    rngs={"dropout": key},
  )
  found = {
    "emotion_loss": losses.masked_cross_entropy(
      emotion_logits_NxC, labels_N, labels_N >= 0
    )
  }
  if "domain_logits" in out:
    found["domain_loss"] = losses.masked_cross_entropy(
      out["domain_logits"], speakers_N, speakers_N >= 0
    )
  return sum(found.values()), found


def clip(grads, norm):
  """Clips the domain classifier and the rest, each to an L2 norm.

  Were the norm one of both, a run with lambda = 0 would feel its domain
  classifier through the clipping.
  """
  domain = {k: v for k, v in grads.items() if k == "domain_classifier"}
  rest = {k: v for k, v in grads.items() if k != "domain_classifier"}
  clipped = {}
  for part in (domain, rest):
    factor = jnp.minimum(1.0, norm / optax.tree.norm(part))
    clipped |= jax.tree.map(lambda g, factor=factor: g * factor, part)
  return clipped


def train_step(
  model, tx, state: State, seeds_R, recipes: Recipe, batch, task: Task, key
):
  """One step of all runs on the same batch: the next state, losses [R]."""
  index_N = batch.utterances_N
  features = jax.tree.map(lambda values_UxD: values_UxD[index_N], task.features)
  real_N = jnp.arange(len(index_N)) < batch.count
  labels_N, speakers_N = (
    jnp.where(real_N, of_U[index_N], -1)
    for of_U in (task.label_U, task.domain_U)
  )
  key = jax.random.fold_in(key, state.step)
  rise = optimizers.ganin_ramp(state.step, task.num_steps)

  def one_run(params, optimizer_state, average, seed, recipe):
    grads, values = jax.grad(loss_fn, has_aux=True)(
      params,
      model,
      features,
      _packing(batch, task),
      labels_N,
      speakers_N,
      recipe.reversal * jnp.where(recipe.ramp > 0, rise, 1.0),
      jax.random.fold_in(key, seed),
    )
    updates, optimizer_state = tx.update(
      clip(grads, recipe.clip_norm), optimizer_state, params
    )
    params = jax.tree.map(
      lambda p, u: p - recipe.learning_rate * u, params, updates
    )
    if average is not None:
      average = optimizers.moving_average(
        average, params, recipe.averaging, state.step
      )
    return params, optimizer_state, average, values

  params, optimizer_state, average, values = jax.vmap(
    one_run, in_axes=(0, 0, None if state.average is None else 0, 0, 0)
  )(state.params, state.optimizer, state.average, seeds_R, recipes)
  return State(state.step + 1, params, optimizer_state, average), values


def _packing(batch, task: Task) -> Packing:
  party_N = task.party_U[batch.utterances_N]
  return Packing(batch.position_BxT, batch.segment_BxT, party_N)


def evaluated_params(state: State):
  """The weights that count: their moving average where there is one."""
  return state.params if state.average is None else state.average


def forward(model, state: State, batch, task: Task):
  """Emotion logits [R, N, C] and representations [R, N, H] of all runs."""
  features = jax.tree.map(lambda x: x[batch.utterances_N], task.features)
  packing = _packing(batch, task)

  def one_run(params):
    logits_NxC, out = model.apply({"params": params}, features, packing, 0.0)
    return logits_NxC, out["representation"]

  return jax.vmap(one_run)(evaluated_params(state))


def evaluate_batch(model, state: State, batch, task: Task):
  """A clu metric of the test part, each leaf [R, ...]."""
  logits_RxNxC, _ = forward(model, state, batch, task)
  targets_N = task.target_U[batch.utterances_N]
  real_N = jnp.arange(len(targets_N)) < batch.count
  return jax.vmap(
    lambda logits: metrics.ClassificationMetrics.from_model_output(
      logits=logits, labels=targets_N, mask=real_N & (targets_N >= 0)
    )
  )(logits_RxNxC)


def make_program(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  averages: bool,
  rival: str = "",
) -> Program:
  """The method, or a `rival` of it by its id, as `run_axis` trains it.

  `averages` says if any run averages its weights.
  """
  num_emotions = len(corpus.classes)
  if rival:
    num_parties = int(corpus.party_U.max()) + 1
    options = config.model.hidden, config.model.dropout
    model = rivals.make(rival, num_emotions, num_parties, *options)
  else:
    num_speakers = len(np.unique(corpus.speaker_U))
    model = Dann(num_emotions, num_speakers, **config.model)
  widths = {name: x.shape[1] for name, x in corpus.table.features.items()}
  return _program(model, tuple(widths.items()), config.optimizer.l2, averages)


@functools.cache
def _program(
  model: nn.Module,
  widths: tuple[tuple[str, int], ...],
  l2: float,
  averages: bool,
) -> Program:
  """The same one for equal arguments, so that it is compiled once."""
  tx = optimizers.adam_l2(l2)
  return Program(
    draw=functools.partial(draw_weights, model, dict(widths)),
    start=functools.partial(start_runs, tx, averages),
    step=functools.partial(train_step, model, tx),
    evaluate=functools.partial(evaluate_batch, model),
    outputs=functools.partial(forward, model),
    specs=State(REPLICATED, REPLICA, REPLICA, REPLICA),
  )


# The systems.


def _published(config, method: str) -> dict[System, Recipe]:
  """C1 and DANN as published, one for each lambda."""
  several = sum(value > 0 for value in config.lambdas) > 1
  recipes = {}
  for value in config.lambdas:
    names = ("dann", "DANN") if value else ("c1", "C1")
    if value and several:
      names = (f"dann_{value:g}", f"DANN {value:g}")
    recipes[named(*names, method)] = Recipe(
      value,
      config.optimizer.learning_rate,
      ramp=float(config.lambda_schedule == "ganin"),
    )
  return recipes


def _stabilised(config, reversal: float, learning_rate: float) -> Recipe:
  options = config.stabilised
  return Recipe(
    reversal, learning_rate, 1.0, options.averaging, options.clip_norm
  )


def search(
  config: ml_collections.ConfigDict, corpus: Conversations, grid: runs.Grid
) -> dict[str, Any]:
  """Finds the stabilised recipes, see `recipe_search`."""
  recipe = functools.partial(_stabilised, config)
  training = functools.partial(make_training, config, corpus)
  return recipe_search.search(config, corpus, grid, recipe, training)


def make_cohorts(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  chosen: Sequence[Mapping[str, Any]],
) -> list[Cohort]:
  """Everything that the study trains; `chosen` are recipes of `search`."""
  cohorts = []
  for name, split in corpus.splits.items():
    recipes = {method: _published(config, method) for method in methods(config)}
    for one in chosen:
      if one["setting"] == name:
        system = System(one["system"], one["label"])
        recipes[one["normalisation"]][system] = Recipe(**one["recipe"])
    if "speaker_normalised" in config.baselines and SPEAKER not in recipes:
      c1 = named("c1", "C1", SPEAKER)
      recipes[SPEAKER] = {c1: Recipe(0.0, config.optimizer.learning_rate)}
    for method, of_method in recipes.items():
      setting = conversations.prepare(config, corpus, name, split, method)
      cohorts.append(Cohort(setting, of_method, config.num_replicates))
      if method in methods(config):
        cohorts += _rivals(config, setting)
  return cohorts


def _rivals(config, setting: Setting) -> Iterator[Cohort]:
  """Other networks, each by itself: trained as C1 is, on the same batches."""
  for id_ in config.rivals:
    system = named(id_, rivals.LABELS[id_], setting.normalisation)
    recipes = {system: Recipe(0.0, config.optimizer.learning_rate)}
    yield Cohort(setting, recipes, config.num_replicates, id_)


# The study.


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> summary.Summary:
  """Runs the whole study, or goes on with it, and returns its summary.

  Args:
    config: see `configs/dann.py`.
    workdir: see `runs.complete`; the search has a folder of its own in it.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
  """
  _check(config)
  data = config.data
  for field, find in (
    ("audio_revision", lambda: features.audio_commit(data)),
    (
      "text_revision",
      lambda: text_features.commit(data.text_features, data.text_encoder),
    ),
  ):
    config = runs.settle(workdir, config, f"data.{field}", find)
  result = runs.complete(config, workdir, functools.partial(_study, config))
  print(tables.terminal_table(result))
  return result


@memory.explained(
  "config.num_replicates, config.lambdas (all runs are trained at once) or "
  "config.batch_size"
)
def _study(config, grid: runs.Grid) -> tuple[summary.Summary, runs.Files]:
  with hosts.first_alone():
    corpus = conversations.read(config)
  _check_baselines(config, corpus)
  found = search(config, corpus, grid) if config.stabilised.enabled else {}
  cohorts = make_cohorts(config, corpus, found.get("chosen", ()))
  folds = held_out.folds(config, corpus, cohorts[0])
  conversations.share_shapes([one.setting for one in (*cohorts, *folds)])
  training = make_training(config, corpus, cohorts, aside=folds)
  study = dataclasses.replace(
    training.study(training.init), pictures=training.pictures
  )
  states, history = grid.loop(
    study, grid.workdir, config.num_epochs, "training"
  )
  kept = held_out.choose(corpus, cohorts[0], folds, training, states)
  result, written = reports.results(
    config,
    reports.Utterances(
      corpus.classes,
      corpus.class_U,
      corpus.table.speaker,
      corpus.dialogue_U,
      corpus.table.corpus,
      identities(corpus.table),
    ),
    _trained(config, corpus, cohorts, training, states, history),
    found,
    kept,
  )
  first = cohorts[0].positions(kept.system)[0]
  params = evaluated_params(states[cohorts[0].name])
  params = sharding.fetch(
    jax.tree.map(lambda values_R: values_R[first], params)
  )
  model = held_out.described(config, corpus, cohorts[0], kept, params)
  result = dataclasses.replace(result, audit=corpus.audit)
  return result, {**written, **stored.writers(*model)}


def make_training(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  cohorts: Sequence[Cohort],
  first_epoch: int = 0,
  aside: Sequence[Cohort] = (),
) -> Training:
  """The training of these cohorts, with the programs that they name."""
  programs = {}
  for name in dict.fromkeys(cohort.program for cohort in cohorts):
    recipes = [c.recipes.values() for c in cohorts if c.program == name]
    averages = any(one.averaging for one in itertools.chain(*recipes))
    programs[name] = make_program(config, corpus, averages, name)
  return Training(programs, cohorts, config.seed, first_epoch, aside)


def _trained(
  config, corpus, cohorts, training, states, history
) -> Iterator[reports.Trained]:
  """What every system of every setting has become, baselines last."""
  num_probed = min(config.probe_replicates, config.num_replicates)
  for cohort in cohorts:
    probed = {s: cohort.positions(s)[:num_probed] for s in cohort.recipes}
    logits_RxUxC, representation_QxUxH = training.outputs(
      states,
      cohort,
      Evaluation(corpus.dialogues, cohort.setting.plan.shape.row_length),
      np.concatenate(list(probed.values())),
    )
    for number, system in enumerate(cohort.recipes):
      yield reports.Trained(
        cohort.setting.name,
        system,
        cohort.recorded(system, history),
        cohort.setting.task.target_U,
        logits_RxUxC[cohort.positions(system)],
        np.split(representation_QxUxH, len(probed))[number],
      )
  for name, split in corpus.splits.items():
    for method in methods(config):
      for baseline in baselines.LABELS:
        if baseline in config.baselines:
          yield _baseline(corpus, name, split, method, baseline)


def _baseline(corpus, name, split, method, baseline: str) -> reports.Trained:
  """An SVM or the like, of the same features."""
  label_U, target_U = conversations.targets(corpus, name, split)
  features = corpus.normalised(method, label_U >= 0)
  features_UxD = np.concatenate(list(features.values()), axis=1)
  predicted_U = baselines.predict(
    baseline, features_UxD, label_U, corpus.speaker_U
  )
  logits_UxC = np.eye(len(corpus.classes))[predicted_U]
  tested = target_U >= 0
  confusion_CxC = metrics.confusion_counts(logits_UxC[tested], target_U[tested])
  history = {"confusion_matrix": confusion_CxC[None, None]}
  system = named(baseline, baselines.LABELS[baseline], method)
  return reports.Trained(name, system, history, target_U, logits_UxC[None])


def _check_baselines(config, corpus: Conversations) -> None:
  """What would otherwise be said after the training, for another config."""
  for name in corpus.splits if "ridge" in config.baselines else ():
    rows = conversations.learnable(corpus, name).parts["labelled"]
    who = set(corpus.table.speaker[rows].tolist())
    if len(who) < 2:
      raise UserError(
        f"config.baselines: 'ridge' chooses its penalty on labelled speakers "
        f"who are held out, and {name} has one, {who.pop()}; leave it out, or "
        "choose another config.split"
      )


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  conversations.check(config)
  checks.positive(config, "probe_replicates", "optimizer.learning_rate")
  checks.positive(config, "model.hidden", "model.num_heads")
  if config.lambdas or not config.stabilised.enabled:
    checks.not_negative(config, "lambdas")
    checks.distinct(config, "lambdas")
  checks.not_negative(config, "optimizer.l2")
  checks.fraction(config, "model.dropout")
  checks.choice(config, "lambda_schedule", ("constant", "ganin"))
  known = "speaker_normalised", *baselines.LABELS
  checks.choices(config, "baselines", known)
  checks.choices(config, "rivals", tuple(rivals.LABELS))
  hidden, num_heads = config.model.hidden, config.model.num_heads
  if hidden % num_heads or hidden % 2:
    raise UserError(
      f"config.model.hidden = {hidden}: has to be divisible by 2 (directions) "
      f"and by config.model.num_heads = {num_heads}"
    )
  if not config.stabilised.enabled:
    return
  numbers = ("lambdas", "learning_rates", "clip_norm", "search_replicates")
  checks.positive(config, *(f"stabilised.{name}" for name in numbers))
  checks.distinct(config, "stabilised.lambdas", "stabilised.learning_rates")
  checks.fraction(config, "stabilised.averaging")
  if config.stabilised.num_folds < 2:
    raise UserError(
      f"config.stabilised.num_folds = {config.stabilised.num_folds}: one part "
      "is held out and the others are labelled, so it takes two"
    )
