"""Emotion of single clips: a pretrained encoder, attention pooling, a head.

After the public repository ukpaudel/emotion_classifier, see
`configs/speech.py`. From top to bottom: the training of one classifier on one
split; the study. Its step is in `speech_step`.

Letters in names: U clips of a part, C emotions, R runs.
"""

import dataclasses
import functools
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from clu import values as clu_values

from emojax import calibration, checks, encoders, loop, runs
from emojax import summary as summaries
from emojax.audio.settings import Augmentation, Settings
from emojax.data import clips, encoded, pipeline, split_audit, splits
from emojax.data.clips import Clips, Part
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.metrics import confusion_counts
from emojax.models.speech_classifier import POOLINGS
from emojax.reports import speech as reports
from emojax.reports import tables
from emojax.runs import Outcome, Run
from emojax.runtime import hosts, memory, sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.summary import Summary, System
from emojax.systems import speech, stored, untrained
from emojax.systems.untrained import Untrained
from emojax.trainers import first_weights, fit, optimizers, speech_step
from emojax.trainers.fit import Best
from emojax.trainers.speech_step import Programs, Recipe, State

AUDITED = split_audit.AUDITED


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
    """Cuts the clips, encodes them if the encoder stays as it is, compiles."""
    fields = {"label": data.class_U}
    if classifier.forgets != "none":
      num_domains, fields["domain"] = clips.domains(
        data, split, classifier.forgets
      )
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
    extra = {"class_weight": weights_C, "responses": None}
    if augmentation is not None:
      extra["responses"] = augmentation.responses
    self._extra = self._place(extra)
    self._programs = self._compile(augmentation and augmentation.settings)
    self._validated_U = self._place(self._labels("validation"))

  def study(self, seed: int) -> loop.Study:
    """One initialisation, for `runs.Grid.train`."""
    trained, frozen = self.first_weights(seed)
    trained = self._place_params(trained)
    frozen = {} if self.is_cached else self._place_params(frozen)
    key = self._place(run_key(self._config, seed))
    batches = pipeline.InOrder(functools.partial(self._batches, seed))
    programs = self._programs

    def round_(state: State, number: int):
      learner, totals = state.learner, None
      start = number * self._steps_per_round
      stop = min(start + self._steps_per_round, len(self._plan))
      for step in range(start, stop):
        batch = batches[step]
        learner, losses = programs.step(
          learner, key, frozen, batch, self._extra
        )
        totals = losses if totals is None else _add(totals, losses)
      logits_UxC = self.logits(learner.params, frozen, "validation")
      state, record = programs.validate(
        self._validated_U, State(learner, state.best), logits_UxC
      )
      means = jax.tree.map(lambda total: total / (stop - start), totals)
      return state, means | record

    return loop.Study(
      init=lambda: programs.init(trained),
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
      lambda b: (
        self._programs.forward(trained, frozen, b),
        b["weight"],
        b["clip"],
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
    encoder, dtype = system.encoder, speech.DTYPES[system.dtype]
    kept = encoded.Kept(dtype, system.weigh_layers, system.averaged_frames)
    features = encoded.features(
      *(encoder, params["encoder"], kept),
      *(data, sizes, config.batch_size),
    )
    if self.classifier.by_speaker:
      row_P = clips.pieces(data, sizes[-1]).row_P
      features = encoded.BySpeaker(features, data.speaker_U, row_P)
    return clips.parts_of_features(
      data, split, fields, sizes, features, system.num_frames
    )

  def _compile(self, augmentation: Settings | None) -> Programs:
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
      shards_parameters=config.shard_parameters,
    )
    tx = optimizers.adam(
      ml_collections.FrozenConfigDict(config.optimizer),
      *(recipe.num_steps, self.classifier.draws_encoder),
    )
    specs = State(REPLICATED, REPLICATED)
    if config.shard_parameters:
      init = functools.partial(speech_step.init_state, tx)
      state = jax.eval_shape(init, self.first_weights(0)[0])
      specs = sharding.spread_out(state, self._mesh)
    leaves, structure = jax.tree.flatten(specs)
    return speech_step.compile_programs(
      recipe, tx, self._mesh, tuple(leaves), structure
    )

  def _result(self, best: Best, frozen: Any) -> runs.Result:
    """What the validation part chooses; then, once, the test part."""
    outputs = {"test_rows": self.parts["test"].rows}
    for part in ("validation", "test"):
      outputs[f"{part}_logits"] = self.logits(best.params, frozen, part)
      outputs[f"{part}_labels"] = self._labels(part)
    temperature = calibration.temperature(
      outputs["validation_logits"], outputs["validation_labels"]
    )
    test = outputs["test_logits"], outputs["test_labels"]
    threshold = reports.threshold(outputs, temperature)
    coverage, accuracy = calibration.accuracy_of_kept(
      calibration.probabilities(test[0], temperature), test[1], threshold
    )
    figures = {
      reports.CURVE: float(best.score),
      "best_epoch": int(best.when) / self._plan.steps_per_epoch,
      "temperature": temperature,
      "calibration_error_before": _calibration_error(*test, 1.0),
      "calibration_error_after": _calibration_error(*test, temperature),
      "threshold": threshold,
      "coverage": coverage,
      # Where nothing is sure enough there is no such number.
      **({"kept_accuracy": accuracy} if coverage else {}),
      "test": {
        name: float(metric(confusion_counts(*test)))
        for name, metric in summaries.METRICS.items()
      },
    }
    return runs.Result(figures, outputs, sharding.fetch(best.params))

  def _pictures(self, record) -> dict[str, clu_values.Value]:
    from emojax.reports import animation  # It draws, which training does not.

    name = "validation_confusion_matrix"
    pixels = animation.confusion_image(record[name], self._data.classes)
    return {name: clu_values.Image(pixels)}

  def _labels(self, name: str) -> np.ndarray:
    """The emotion of each clip of a part, [U]."""
    return self._data.class_U[self.parts[name].rows]

  def _place(self, tree):
    return sharding.place(tree, self._mesh, REPLICATED)

  def _place_params(self, tree):
    specs = REPLICATED
    if self._config.shard_parameters:
      specs = sharding.spread_out(tree, self._mesh)
    return sharding.place(tree, self._mesh, specs)

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


def _calibration_error(logits_UxC, labels_U, temperature: float) -> float:
  probabilities_UxC = calibration.probabilities(logits_UxC, temperature)
  bins = calibration.reliability(probabilities_UxC, labels_U)
  return calibration.expected_calibration_error(bins)


def run_key(config: ml_collections.ConfigDict, seed: int) -> jax.Array:
  """The root of everything random in one initialisation."""
  return jax.random.fold_in(jax.random.key(config.seed), seed)


# The study.


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> Summary:
  """Runs the study of `configs/speech.py`, or goes on with it.

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
  config = first_weights.settle(config, workdir)
  summary = runs.complete(config, workdir, functools.partial(_study, config))
  print(tables.terminal_table(summary))
  return summary


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Who is in which part of each split, as Markdown tables; see
  `split_audit.audit`.

  Raises:
    UserError: something in the config or the data is wrong.
  """
  _check(config)
  return _read(config)[1]


def _names(config) -> list[str]:
  """The classifiers of the study as `untrained.make` takes them."""
  return list(dict.fromkeys((config.model.encoder, *config.baselines)))


def _read(config) -> tuple[Clips, dict[str, str], str]:
  """The clips, who is in which part, and whom the first weights know.

  What one system can not use, none gets.
  """
  least = _min_samples(config)
  data, parts = clips.read(config, least)
  return data, parts, first_weights.check(config, data, least)


def _min_samples(config) -> int:
  """The least that each of the encoders makes a frame of."""
  revision = config.model.revision
  names = [name for name in _names(config) if name != untrained.BY_SPEAKER]
  found = [encoders.find(name, revision) for name in names]
  return max(one.encoder.min_samples for one in found)


def _study(config, grid: runs.Grid) -> tuple[Summary, runs.Files]:
  """Trains what is not trained yet, and sums up; see `runs.complete`."""
  with hosts.first_alone():
    data, parts, taught = _read(config)
  for setting, table in parts.items():
    print(f"{setting}\n{table}\n")
  augmentation = Augmentation.read(config.augment, _min_samples(config))
  names = _names(config)
  if untrained.BY_SPEAKER in names and augmentation:
    raise UserError(
      f"config.baselines: {untrained.BY_SPEAKER} takes clips as they are; set "
      "the probabilities of config.augment to 0, or leave it out"
    )
  systems = [untrained.make(config, name, data.classes) for name in names]
  outcomes = []
  for setting, split in data.splits.items():
    for classifier in systems:
      arguments = (config, classifier, data, split, augmentation)
      make = functools.cache(functools.partial(Training, *arguments))
      for seed in range(config.num_replicates):
        run = Run(setting, classifier.id, seed)
        outcomes.append(grid.finished(run) or _train(config, grid, make, run))
  summary = reports.summary(
    config.title,
    data,
    [System(one.id, one.label) for one in systems],
    runs.by_row(outcomes),
  )
  summary = dataclasses.replace(
    summary,
    model=taught + reports.of_model(summary),
    audit=parts,
    unit=_unit(config),
  )
  return summary, _files(config, data, systems[0], summary, outcomes)


def _train(config, grid: runs.Grid, make, run: Run) -> Outcome:
  with memory.explained(
    "config.batch_size, or the last of config.data.buckets; "
    "config.model.remat=True and config.dtype=bfloat16 help as well"
  ):
    training = make()
    study = training.study(run.seed)
    return grid.train(run, study, training.num_rounds, _unit(config))


def _unit(config) -> str:
  """What a round of training is called."""
  return "round" if config.steps_per_round else "epoch"


def _files(
  config, data: Clips, classifier: Untrained, summary: Summary, outcomes
) -> runs.Files:
  """All that a person looks at, and the best run of the first system."""
  kept = reports.best(summary)
  of_kept = Run(kept["setting"], kept["system"], kept["seed"])
  best = next(outcome for outcome in outcomes if outcome.run == of_kept)
  trained, frozen = best.weights, {}
  if classifier.trained_layers is not None:
    _, frozen = classifier.init(run_key(config, best.run.seed))
  trained.pop("domain_classifier", None)  # It has had its day.
  params = untrained.merge(frozen, trained)
  temperature = best.figures["temperature"]
  heard = data.splits[best.run.setting].parts["train"]
  system = dataclasses.replace(
    classifier.system,
    temperature=temperature,
    threshold=reports.threshold(best.outputs, temperature),
    level_db=clips.speech_db(data.audio, heard),
  )
  history = runs.histories(outcomes)
  return {
    **reports.files(
      *(summary, history, outcomes, best, data),
      functools.partial(system.attend, params),
      config.published.to_dict(),
    ),
    **stored.writers(system, params),
    summaries.HISTORY: lambda path: np.savez_compressed(path, **history),
  }


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  checks.common(config)
  checks.positive(config, "model.hidden", "model.averaged_frames")
  checks.positive(config, "data.buckets")
  checks.positive(config, "optimizer.learning_rate", "optimizer.accumulate")
  checks.not_negative(config, "optimizer.encoder_learning_rate", "mixup")
  checks.not_negative(config, "optimizer.pooling_learning_rate")
  checks.not_negative(config, "optimizer.weight_decay", "optimizer.clip_norm")
  checks.not_negative(config, "steps_per_round", "unfreeze_last_n_layers")
  checks.not_negative(config, "adversary.reversal")
  checks.fraction(config, "model.dropout", "label_smoothing")
  shares = ("feature_time_share", "feature_channel_share")
  checks.fraction(config, *(f"augment.{share}" for share in shares))
  checks.choice(config, "model.pooling", POOLINGS)
  checks.choice(config, "dtype", speech.DTYPES)
  checks.choice(config, "optimizer.schedule", optimizers.SCHEDULES)
  splits.check(config.split)
  checks.choice(config, "adversary.domain", ("none", "speaker", "corpus"))
  if config.baselines:
    known = (untrained.BY_SPEAKER, *encoders.names())
    checks.choices(config, "baselines", known)
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
  last = config.unfreeze_last_n_layers
  if last and not config.freeze_encoder:
    raise UserError(
      "config.unfreeze_last_n_layers: the whole encoder is trained; set "
      "config.freeze_encoder=True to train its last layers only"
    )
  is_frozen = config.freeze_encoder and not last
  if untrained.BY_SPEAKER in config.baselines and not (
    is_frozen and not any(untrained.masked_shares(config))
  ):
    raise UserError(
      f"config.baselines: {untrained.BY_SPEAKER} takes the features of a "
      "frozen encoder; set config.freeze_encoder=True, without "
      "config.unfreeze_last_n_layers and feature masks, or leave it out"
    )
  if is_frozen and config.adversary.domain != "none":
    raise UserError(
      "config.adversary.domain: the encoder is frozen, so the adversary's "
      "gradient could not reach it; set config.freeze_encoder=False, or "
      "config.unfreeze_last_n_layers"
    )
