"""The DANN study from config to summary: `train`."""

import os
import pathlib
from collections.abc import Iterator, Mapping

import ml_collections

from emojax import checks, loop
from emojax.data import normalisation, text_features
from emojax.errors import UserError
from emojax.reports import tables as report_tables
from emojax.trainers.dann import evidence, groups, search
from emojax.trainers.dann.step import Recipe


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> dict:
  """Runs the whole study, or goes on with it, and returns its summary.

  Args:
    config: see `configs/dann.py`.
    workdir: see `loop.run`; the search has a folder of its own in it.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
  """
  _check(config)
  workdir = pathlib.Path(workdir)
  config = loop.settle(
    workdir,
    config,
    "data.text_revision",
    lambda: text_features.commit(
      config.data.text_features, config.data.text_encoder
    ),
  )
  summary = loop.finished(workdir, config)
  if summary is None:
    summary = _run(config, workdir)
  print(report_tables.terminal_table(summary))
  return summary


def _run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> dict:
  material = groups.read_material(config)
  loop.claim(workdir, config)
  chosen = {}
  if config.stabilised.enabled:
    chosen = search.choose(config, material, workdir / "search")
  all_groups = [
    groups.make_group(config, material, setting, split, method, recipes)
    for setting, split in material.settings.items()
    for method, recipes in _systems(config, chosen, setting)
  ]
  training = groups.make_training(config, material, all_groups)

  def summarize(state, history):
    return evidence.summarize(
      config, material, training, state, history, chosen
    )

  return loop.run(
    loop.Study(training.init, training.round, training.evaluate, summarize),
    config,
    workdir,
    config.num_epochs,
    "training",
  )


def _check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all."""
  checks.positive(config, "num_replicates", "num_epochs", "batch_size")
  checks.positive(config, "checkpoint_every", "optimizer.learning_rate")
  checks.positive(config, "probe_replicates", "model.hidden", "model.num_heads")
  checks.not_negative(config, "lambdas", "optimizer.l2")
  checks.not_negative(config, "data.max_skipped", "data.num_workers")
  checks.distinct(config, "lambdas")
  checks.fraction(config, "model.dropout")
  checks.choice(config, "lambda_schedule", ("constant", "ganin"))
  checks.choices(config, "data.normalisation", normalisation.METHODS)
  checks.choices(config, "baselines", ("speaker_normalised", "svm"))
  if not 0 <= config.seed < 2**32:
    raise UserError(f"config.seed = {config.seed}: has to be in 0 to 2^32 - 1")
  hidden, num_heads = config.model.hidden, config.model.num_heads
  if hidden % num_heads or hidden % 2:
    raise UserError(
      f"config.model.hidden = {hidden}: has to be divisible by 2 (directions) "
      f"and by config.model.num_heads = {num_heads}"
    )
  if config.stabilised.enabled:
    _check_stabilised(config)


def _check_stabilised(config: ml_collections.ConfigDict) -> None:
  for field in ("lambdas", "learning_rates"):
    checks.positive(config, f"stabilised.{field}")
    checks.distinct(config, f"stabilised.{field}")
  checks.positive(
    config, "stabilised.clip_norm", "stabilised.search_replicates"
  )
  checks.fraction(config, "stabilised.averaging")
  if config.stabilised.num_folds < 2:
    raise UserError(
      f"config.stabilised.num_folds = {config.stabilised.num_folds}: one part "
      "is held out and the others are labelled, so it takes two"
    )


def _systems(
  config: ml_collections.ConfigDict,
  chosen: Mapping[tuple[str, str], tuple[Recipe, ...]],
  setting: str,
) -> Iterator[tuple[str, tuple[Recipe, ...]]]:
  """Normalisations of a setting, and the recipes that are trained with each."""
  methods = groups.methods(config)
  for method in methods:
    published = groups.published_recipes(config, method)
    yield method, published + chosen.get((setting, method), ())
  if "speaker_normalised" in config.baselines and "speaker" not in methods:
    c1 = Recipe(
      "C1" + groups.suffix("speaker"), 0.0, config.optimizer.learning_rate
    )
    yield "speaker", (c1,)
