"""Emotion of single clips: a pretrained encoder, attention pooling, a head.

After the public repository ukpaudel/emotion_classifier, see
`configs/speech.py`. From top to bottom: the classifier and its first weights;
state, loss and step, the program of one device; the training of one classifier
on one split; the study.

Letters in names: B clips of a batch, U clips of a part, C emotions, R runs, E
epochs.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from clu import values as clu_values
from scipy import special

from emojax import calibration, checks, encoders, loop, runs
from emojax import summary as summaries
from emojax.audio import augment
from emojax.audio.settings import Augmentation, Settings
from emojax.corpora import labels
from emojax.data import clips, encoded, pipeline, splits
from emojax.data.clips import Clips, Part
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.metrics import ClassificationMetrics
from emojax.models.pooling import POOLINGS
from emojax.models.speech_classifier import SpeechClassifier
from emojax.reports import animation, tables
from emojax.reports import speech as reports
from emojax.runs import Outcome, Run
from emojax.runtime import environment, memory, sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.summary import Estimate, Row, Summary, System
from emojax.systems import speech, untrained
from emojax.systems.speech import SpeechSystem
from emojax.systems.untrained import Untrained
from emojax.trainers import fit, optimizers
from emojax.trainers.fit import Best, Learner

AUDITED = splits.AUDITED
ALL = "all of them"  # The setting of all folds together.
CURVE = "validation_unweighted_accuracy"


# State, loss and step: the program of one device.


@flax.struct.dataclass
class State:
  """What a training changes: the learner, and what it was at its best."""

  learner: Learner
  best: Best


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a classifier is trained.

  Attributes:
    system: the classifier.
    model: its module.
    augmentation: of waveforms, None for none.
    train_encoder: whether the encoder's dropout and masking are active.
    label_smoothing: share of the target spread over all classes.
    mixup: alpha of Beta(alpha, alpha); 0 for no mixup.
    reversal: lambda of the adversary.
    ramp: whether lambda rises as in Ganin et al. 2016.
    num_steps: batches of the whole training.
  """

  system: SpeechSystem
  model: SpeechClassifier
  augmentation: Settings | None = None
  train_encoder: bool = True
  label_smoothing: float = 0.0
  mixup: float = 0.0
  reversal: float = 0.0
  ramp: bool = False
  num_steps: int = 1


def init_state(tx: optax.GradientTransformation, trained: Any) -> State:
  """The state before training."""
  learner = fit.init_learner(tx, {"params": trained})
  return State(learner, fit.init_best(learner))


def loss_fn(recipe: Recipe, params, model_state, key, frozen, batch, extra):
  """Weighted cross-entropy, and the adversary's; see `fit.train_step`.

  Args:
    recipe: how the classifier is trained.
    params: the parameters that are trained.
    model_state: empty.
    key: randomness of this device at this step.
    frozen: all other parameters.
    batch: see `pipeline.Reader`; with a `domain` where there is an adversary.
    extra: `class_weight` [C]; `responses` of rooms, [N, R] or None; and
      `reversal`, lambda at this step.
  """
  model = recipe.model
  augment_key, mix_key, model_key = jax.random.split(key, 3)
  inputs, lengths_B = batch["inputs"], batch["length"]
  if inputs.ndim == 2 and recipe.augmentation is not None:
    noise_BxS = batch.get("noise")
    inputs, lengths_B = augment.augment(
      augment_key,
      speech.to_float(inputs),
      lengths_B,
      noise_BxS if noise_BxS is None else speech.to_float(noise_BxS),
      extra["responses"],
      recipe.augmentation,
    )
  emotion_BxC = jax.nn.one_hot(batch["label"], model.num_classes)
  targets = {
    "emotion": optax.smooth_labels(emotion_BxC, recipe.label_smoothing)
  }
  if model.num_domains:
    targets["domain"] = jax.nn.one_hot(batch["domain"], model.num_domains)
  if recipe.mixup:
    inputs, lengths_B, targets = fit.mixup(
      mix_key, recipe.mixup, speech.to_float(inputs), lengths_B, targets
    )
  logits_BxC, out = recipe.system.apply(
    model,
    untrained.merge(frozen, params),
    inputs,
    lengths_B,
    train=True,
    reversal=extra["reversal"],
    train_encoder=recipe.train_encoder,
    rngs={"dropout": model_key},
  )
  weight_B = batch["weight"] * (targets["emotion"] @ extra["class_weight"])
  losses = {
    "emotion_loss": fit.weighted_cross_entropy(
      logits_BxC, targets["emotion"], weight_B
    )
  }
  if model.num_domains:
    losses["domain_loss"] = fit.weighted_cross_entropy(
      out["domain_logits"], targets["domain"], batch["weight"]
    )
  return sum(losses.values()), (losses, model_state)


def train_step(recipe: Recipe, tx, learner: Learner, key, frozen, batch, extra):
  """One step on this device's part of the batch.

  Args:
    recipe, frozen, batch: see `loss_fn`.
    tx: see `optimizers.adam`.
    learner: before the step.
    key: of the run.
    extra: `class_weight` and `responses`, see `loss_fn`.

  Returns:
    The learner after it, and the losses over the whole batch.
  """
  reversal = jnp.float32(recipe.reversal)
  if recipe.ramp:
    # Ganin et al. 2016, "Domain-adversarial training of neural networks",
    # 5.2.2.
    share = learner.step / recipe.num_steps
    reversal *= 2 / (1 + jnp.exp(-10 * share)) - 1
  extra = {**extra, "reversal": reversal}
  loss = functools.partial(loss_fn, recipe)
  return fit.train_step(loss, tx, learner, key, frozen, batch, extra)


def validate(
  labels_U: np.ndarray, state: State, logits_UxC: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
  """Keeps the best parameters, and gives the figures of the validation."""
  figures = ClassificationMetrics.single_from_model_output(
    logits=logits_UxC, labels=labels_U
  ).compute()
  target_UxC = jax.nn.one_hot(labels_U, logits_UxC.shape[1])
  figures["loss"] = optax.softmax_cross_entropy(logits_UxC, target_UxC).mean()
  score, step = figures["unweighted_accuracy"], state.learner.step
  best = fit.keep_best(state.best, state.learner, score, step)
  return State(state.learner, best), {
    f"validation_{name}": value for name, value in figures.items()
  }


# The training of one classifier on one split.


class Training:
  """One classifier on one split, for any number of initialisations."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    classifier: Untrained,
    data: Clips,
    split: Split,
    augmentation: Augmentation | None,
  ):
    """Cuts the clips, encodes them if the encoder stays as it is, compiles.

    Args:
      config: a whole config.
      classifier: what is trained.
      data: the clips.
      split: training, validation and test part.
      augmentation: of the training part, None for none.
    """
    fields = {"label": data.class_U}
    if config.adversary.domain != "none":
      num_domains, fields["domain"] = _domains(config, data, split)
      classifier = classifier.with_domains(num_domains)
    self.classifier = classifier
    self._config = config
    # Trained and frozen ones; those of a seed are asked for again at once.
    self.first_weights = functools.lru_cache(maxsize=1)(
      lambda seed: classifier.init(run_key(config, seed))
    )
    self._data = data
    self._mesh = sharding.make_mesh(jax.device_count())
    self._by_clip = jax.sharding.NamedSharding(self._mesh, DATA)
    self._trains_encoder = classifier.trained_layers != 0 or any(
      untrained.masked_shares(config)
    )
    self.is_cached = not (self._trains_encoder or augmentation)
    self.parts = self._parts(split, fields, augmentation)
    train = self.parts["train"]
    self._plan = train.plan(config.batch_size, config.num_epochs)
    self._steps_per_round = config.steps_per_round or self._plan.steps_per_epoch
    self.num_rounds = math.ceil(len(self._plan) / self._steps_per_round)
    weights_C = np.ones(len(data.classes), np.float32)
    if config.class_weights:
      label_P = train.reader.fields["label"]
      weights_C = fit.class_weights(label_P, len(data.classes))
    responses = augmentation and augmentation.responses
    extra = {"class_weight": weights_C, "responses": responses}
    self._extra = self._place(extra)
    self._compile(augmentation and augmentation.settings)

  def study(self, seed: int) -> loop.Study:
    """One initialisation, for `runs.Grid.train`."""
    trained, frozen = self._place(self.first_weights(seed))
    if self.is_cached:
      frozen = {}
    key = self._place(run_key(self._config, seed))
    batches = pipeline.InOrder(functools.partial(self._batches, seed))

    def round_(state: State, number: int):
      learner, totals = state.learner, None
      start = number * self._steps_per_round
      stop = min(start + self._steps_per_round, len(self._plan))
      for step in range(start, stop):
        learner, losses = self._step(
          learner, key, frozen, batches[step], self._extra
        )
        totals = losses if totals is None else _add(totals, losses)
      logits_UxC = self.logits(learner.params, frozen, "validation")
      state, record = self._validate(State(learner, state.best), logits_UxC)
      means = jax.tree.map(lambda total: total / (stop - start), totals)
      return state, means | record

    return loop.Study(
      init=lambda: self._init(trained),
      round=round_,
      evaluate=lambda state: {},
      summarize=lambda state, history: self._result(state.best, frozen),
      pictures=self._pictures,
    )

  def logits(self, trained: Any, frozen: Any, name: str) -> np.ndarray:
    """Mean logits over the pieces of each clip of a part, float32 [U, C]."""
    part = self.parts[name]
    plan = part.plan(self._config.batch_size)
    outputs = fit.predict_all(
      lambda batch: (
        self._forward(trained, frozen, batch),
        batch["weight"],
        batch["clip"],
      ),
      pipeline.batches(plan, part.reader, self._by_clip),
    )
    return part.means(*outputs)

  def _parts(self, split, fields, augmentation) -> dict[str, Part]:
    config, data, system = self._config, self._data, self.classifier.system
    sizes = clips.sizes(config)
    if not self.is_cached:
      return clips.parts_of_audio(data, split, fields, sizes, augmentation)
    # Their encoder is pretrained, or another run's: the same for all seeds.
    params = untrained.merge(*self.first_weights(0))
    features = encoded.features(
      system.encoder,
      params["encoder"],
      speech.DTYPES[system.dtype],
      system.weigh_layers,
      data,
      sizes,
      config.batch_size,
      self._mesh,
    )
    num_frames = system.encoder.num_frames
    return clips.parts_of_features(
      data, split, fields, sizes, features, num_frames
    )

  def _compile(self, augmentation: Settings | None) -> None:
    config, system = self._config, self.classifier.system
    recipe = Recipe(
      system=system,
      model=system.model(config.model.remat),
      augmentation=augmentation,
      train_encoder=self._trains_encoder,
      label_smoothing=config.label_smoothing,
      mixup=config.mixup,
      reversal=config.adversary.reversal,
      ramp=config.adversary.ramp,
      num_steps=len(self._plan),
    )
    tx = optimizers.adam(config.optimizer, recipe.num_steps)
    self._init = jax.jit(functools.partial(init_state, tx))
    self._step = sharding.mapped(
      functools.partial(train_step, recipe, tx),
      self._mesh,
      (REPLICATED, REPLICATED, REPLICATED, DATA, REPLICATED),
      (REPLICATED, REPLICATED),
      donate_argnums=(0,),
    )

    def logits(trained, frozen, batch):
      params = untrained.merge(frozen, trained)
      inputs, lengths_B = batch["inputs"], batch["length"]
      return system.apply(recipe.model, params, inputs, lengths_B)[0]

    self._forward = sharding.mapped(
      logits, self._mesh, (REPLICATED, REPLICATED, DATA), DATA
    )
    self._validate = jax.jit(
      functools.partial(validate, self._labels("validation")),
      donate_argnums=(0,),
    )

  def _result(self, best: Best, frozen: Any) -> runs.Result:
    """Temperature by the validation part; then, once, the test part."""
    outputs = {"test_rows": self.parts["test"].rows}
    for part in ("validation", "test"):
      outputs[f"{part}_logits"] = self.logits(best.params, frozen, part)
      outputs[f"{part}_labels"] = self._labels(part)
    temperature = calibration.temperature(
      outputs["validation_logits"], outputs["validation_labels"]
    )
    logits_UxC, labels_U = outputs["test_logits"], outputs["test_labels"]
    errors = {
      name: calibration.expected_calibration_error(
        calibration.reliability(special.softmax(logits_UxC / t, 1), labels_U)
      )
      for name, t in (("before", 1.0), ("after", temperature))
    }
    confusion_CxC = fit.confusion(logits_UxC, labels_U)
    figures = {
      CURVE: float(best.score),
      "best_epoch": int(best.when) / self._plan.steps_per_epoch,
      "temperature": temperature,
      "expected_calibration_error": errors,
      "test": {
        name: float(metric(confusion_CxC))
        for name, metric in summaries.METRICS.items()
      },
    }
    return runs.Result(figures, outputs, best.params)

  def _pictures(self, record) -> dict[str, clu_values.Value]:
    name = "validation_confusion_matrix"
    pixels = animation.confusion_image(record[name], self._data.classes)
    return {name: clu_values.Image(pixels)}

  def _labels(self, name: str) -> np.ndarray:
    """The emotion of each clip of a part, [U]."""
    return self._data.class_U[self.parts[name].rows]

  def _place(self, tree):
    return sharding.place(tree, self._mesh, REPLICATED)

  def _batches(self, seed: int, start: int):
    seeds = (self._config.seed, seed)
    return pipeline.batches(
      dataclasses.replace(self._plan, seed=seeds),
      dataclasses.replace(self.parts["train"].reader, seed=seeds),
      self._by_clip,
      start,
      self._config.data.num_workers,
    )


@jax.jit
def _add(totals, values):
  return jax.tree.map(jnp.add, totals, values)


def _domains(config, data: Clips, split: Split) -> tuple[int, np.ndarray]:
  """What the adversary tells apart: how many, and the domain of each clip."""
  found = clips.domains(data, split, config.adversary.domain)
  if found[0] < 2:
    raise UserError(
      f"config.adversary.domain = {config.adversary.domain!r}: the training "
      "part has only one, and there is nothing to forget"
    )
  return found


def run_key(config: ml_collections.ConfigDict, seed: int) -> jax.Array:
  """The root of everything random in one initialisation."""
  return jax.random.fold_in(jax.random.key(config.seed), seed)


# The study.


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> Summary:
  """Runs the whole study, or goes on with it, and returns its summary.

  Args:
    config: see `configs/speech.py`.
    workdir: see `runs.complete`.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
  """
  _check(config)
  config = runs.settle(
    workdir,
    config,
    "model.revision",
    lambda: encoders.find(config.model.encoder).revision,
  )
  summary = runs.complete(config, workdir, functools.partial(_study, config))
  print(tables.terminal_table(summary))
  return summary


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Who is in which part of each split, as Markdown tables; all are checked.

  Raises:
    UserError: a speaker or an identical recording is in two parts, or whatever
      else is wrong with the data.
  """
  _check(config)
  sources = [untrained.source(config, name) for name in _names(config)]
  return _read(config, [source.encoder for source in sources])[1]


def _names(config) -> list[str]:
  """The encoders of the study, that of the config first."""
  return list(dict.fromkeys((config.model.encoder, *config.baselines)))


def _read(config, used: Sequence[encoders.Encoder]):
  """The clips, and who is in which part: what one can not use, none gets."""
  return clips.read(config, max(encoder.min_samples for encoder in used))


def _study(config, grid: runs.Grid) -> tuple[Summary, runs.Files]:
  """Trains what is not trained yet, and sums up; see `runs.complete`."""
  augmentation = Augmentation.read(config.augment)
  classes, _ = labels.parse_classes(config.data.labels)
  systems = [untrained.make(config, name, classes) for name in _names(config)]
  data, parts = _read(config, [one.system.encoder for one in systems])
  for setting, table in parts.items():
    print(f"{setting}\n{table}\n")
  outcomes = []
  for (setting, split), classifier in itertools.product(
    data.splits.items(), systems
  ):
    training = functools.cache(
      functools.partial(Training, config, classifier, data, split, augmentation)
    )
    for seed in range(config.num_replicates):
      run = Run(setting, classifier.source.id, seed)
      outcomes.append(
        grid.finished(run) or _train(config, grid, training(), run)
      )
  summary = _summary(config, data, systems, outcomes)
  return summary, _files(config, data, systems[0], summary, outcomes)


def _train(config, grid: runs.Grid, training: Training, run: Run) -> Outcome:
  with memory.explained(
    "config.batch_size, or the last of config.data.buckets; "
    "config.model.remat=True and config.dtype=bfloat16 help as well"
  ):
    study = training.study(run.seed)
    return grid.train(run, study, training.num_rounds, _unit(config))


def _unit(config) -> str:
  """What a round of training is called."""
  return "round" if config.steps_per_round else "epoch"


def _summary(config, data: Clips, classifiers, outcomes) -> Summary:
  """Rows and comparisons, and what is of each run."""
  systems = tuple(System(c.source.id, c.source.label) for c in classifiers)
  by_row = runs.by_row(outcomes)
  rows = [
    _row(data, *key, [[outcome] for outcome in group])
    for key, group in by_row.items()
  ]
  for system in systems if len(data.splits) > 1 else ():
    folds = [by_row[setting, system.id] for setting in data.splits]
    rows.append(_row(data, ALL, system.id, list(zip(*folds, strict=True))))
  pairs = [(systems[0].id, other.id) for other in systems[1:]]
  return Summary(
    study=speech.STUDY,
    title=config.title,
    demo=data.demo,
    classes=data.classes,
    selection=summaries.BEST_EPOCH,
    metrics=tuple(summaries.METRICS),
    systems=systems,
    rows=tuple(rows),
    comparisons=summaries.compare(rows, pairs, tuple(summaries.METRICS)),
    runs=tuple({**dataclasses.asdict(o.run), **o.figures} for o in outcomes),
    curve=CURVE,
    test_digest=_test_digest(data, outcomes),
    **environment.describe(),
  )


def _row(
  data: Clips, setting: str, system: str, of_runs: Sequence[Sequence[Outcome]]
) -> Row:
  """A row; each run is one initialisation on one or on several settings."""

  def joined(name: str) -> np.ndarray:
    """Over the settings of each run, [R, U, ...]."""
    return np.stack(
      [np.concatenate([o.outputs[name] for o in run]) for run in of_runs]
    )

  logits_RxUxC, labels_U = joined("test_logits"), joined("test_labels")[0]
  matrices = [
    fit.confusion(logits_UxC, labels_U) for logits_UxC in logits_RxUxC
  ]
  row = summaries.over_speakers(
    summaries.row(setting, system, np.stack(matrices)),
    logits_RxUxC.argmax(2) == labels_U,
    labels_U,
    data.speaker_U[joined("test_rows")[0]],
  )
  errors = {
    f"calibration_error_{when}": Estimate.of(
      [
        np.mean([o.figures["expected_calibration_error"][when] for o in run])
        for run in of_runs
      ]
    )
    for when in ("before", "after")
  }
  return dataclasses.replace(row, metrics={**row.metrics, **errors})


def _test_digest(data: Clips, outcomes: Sequence[Outcome]) -> str:
  """One name for the same test clips, over all settings."""
  rows = {o.run.setting: o.outputs["test_rows"] for o in outcomes}
  content = [[s, *data.digest_U[rows[s]].tolist()] for s in sorted(rows)]
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _files(
  config, data: Clips, classifier: Untrained, summary: Summary, outcomes
) -> runs.Files:
  """All that a person looks at, and the best run of the first system."""
  best = max(
    (o for o in outcomes if o.run.system == classifier.source.id),
    key=lambda outcome: outcome.figures[CURVE],
  )
  trained, frozen = best.weights, {}
  if classifier.trained_layers is not None:
    _, frozen = classifier.init(run_key(config, best.run.seed))
  trained.pop("domain_classifier", None)  # It has had its day.
  params = untrained.merge(frozen, trained)
  system = dataclasses.replace(
    classifier.system, temperature=best.figures["temperature"]
  )
  confusions: dict[str, dict[str, np.ndarray]] = {}
  for (setting, name), group in runs.by_row(outcomes).items():
    confusions.setdefault(setting, {})[summary.label(name)] = sum(
      fit.confusion(o.outputs["test_logits"], o.outputs["test_labels"])
      for o in group
    )
  rows_U = best.outputs["test_rows"]
  matrices = best.history["validation_confusion_matrix"]
  shown = reports.BestRun(
    name=f"{summary.label(best.run.system)}, {best.run.setting}, seed "
    f"{best.run.seed}",
    score=best.figures[CURVE],
    epoch=best.figures["best_epoch"],
    temperature=system.temperature,
    rounds_E=[f"{_unit(config)} {i}" for i in range(1, len(matrices) + 1)],
    confusion_ExCxC=matrices,
    logits_UxC=best.outputs["test_logits"],
    labels_U=best.outputs["test_labels"],
    speaker_U=data.speaker_U[rows_U],
    corpus_U=data.corpus_U[rows_U],
    path_U=data.path_U[rows_U],
    read=lambda clip: data.audio[int(rows_U[clip])],
    attend=functools.partial(system.attend, params),
  )
  history = runs.histories(outcomes)
  published = config.published.to_dict()
  return {
    **reports.files(summary, history, confusions, shown, published),
    **speech.files(system, params),
    summaries.HISTORY: lambda path: np.savez_compressed(path, **history),
  }


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  checks.common(config)
  checks.positive(
    config,
    *("model.hidden", "data.buckets", "optimizer.learning_rate"),
    "optimizer.accumulate",
  )
  checks.not_negative(
    config,
    *("optimizer.encoder_learning_rate", "optimizer.weight_decay", "mixup"),
    *("optimizer.clip_norm", "steps_per_round", "unfreeze_last_n_layers"),
    "adversary.reversal",
  )
  checks.fraction(
    config,
    *("model.dropout", "label_smoothing", "augment.feature_time_share"),
    "augment.feature_channel_share",
  )
  checks.choice(config, "model.pooling", POOLINGS)
  checks.choice(config, "dtype", speech.DTYPES)
  checks.choice(config, "optimizer.schedule", optimizers.SCHEDULES)
  checks.choice(config, "split.method", splits.METHODS)
  checks.choice(config, "split.group", splits.GROUPS)
  checks.choice(config, "adversary.domain", ("none", "speaker", "corpus"))
  if config.baselines:
    checks.choices(config, "baselines", encoders.names())
  if list(config.data.buckets) != sorted(set(config.data.buckets)):
    raise UserError(
      f"config.data.buckets = {config.data.buckets}: name lengths in seconds, "
      "each longer than the one before"
    )
  if config.batch_size % jax.device_count():
    raise UserError(
      f"config.batch_size = {config.batch_size}: has to be a multiple of the "
      f"{jax.device_count()} devices, over which a batch is cut"
    )
  _check_frozen(config)


def _check_frozen(config: ml_collections.ConfigDict) -> None:
  is_frozen = config.freeze_encoder and not config.unfreeze_last_n_layers
  if config.unfreeze_last_n_layers and not config.freeze_encoder:
    raise UserError(
      "config.unfreeze_last_n_layers: the whole encoder is trained; set "
      "config.freeze_encoder=True to train its last layers only"
    )
  if config.adversary.domain != "none" and is_frozen:
    raise UserError(
      "config.adversary.domain: the encoder is frozen, so the adversary's "
      "gradient could not reach it; set config.freeze_encoder=False, or "
      "config.unfreeze_last_n_layers"
    )
  if not config.optimizer.encoder_learning_rate and not is_frozen:
    raise UserError(
      "config.optimizer.encoder_learning_rate = 0: the encoder would not be "
      "trained; set config.freeze_encoder=True"
    )
