"""The stabilised recipe's choice of lambda and learning rate.

It is made inside the labelled part: each of its sessions (or groups of
speakers) is held out in turn, and labels of test speakers are never read.
"""

import itertools
import pathlib

import ml_collections
import numpy as np

from emojax import loop
from emojax.data import folds
from emojax.reports import evidence
from emojax.trainers.dann.groups import (
  Material,
  make_group,
  make_training,
  methods,
  stabilised_recipe,
  suffix,
)
from emojax.trainers.dann.step import Recipe
from emojax.trainers.dann.training import confusion_name


def choose(
  config: ml_collections.ConfigDict, material: Material, workdir: pathlib.Path
) -> dict[tuple[str, str], tuple[Recipe, ...]]:
  """Chooses lambda and learning rate for C1-S and DANN-S.

  All candidates of all folds of all settings are trained in one study; the best
  mean weighted accuracy on the held-out part, at the last epoch, wins.

  Returns:
    For each setting and normalisation, the recipes of C1-S and DANN-S.
  """
  grid = itertools.product(
    (0.0, *config.stabilised.lambdas), config.stabilised.learning_rates
  )
  candidates = tuple(
    stabilised_recipe(config, f"{value:g}, {rate:g}", value, rate)
    for value, rate in grid
  )
  groups = {}
  for setting, split in material.settings.items():
    inner = folds.inner_folds(
      split,
      material.table.session,
      material.table.speaker,
      config.stabilised.num_folds,
    )
    for method in methods(config):
      groups[setting, method] = [
        make_group(
          config,
          material,
          f"{setting}, fold {number}",
          fold,
          method,
          candidates,
          config.stabilised.search_replicates,
        )
        for number, fold in enumerate(inner, start=1)
      ]
  training = make_training(
    config, material, list(itertools.chain(*groups.values()))
  )

  def summarize(state, history):
    del state
    rows = [
      {
        "setting": setting,
        "normalisation": method,
        "lambda": candidate.reversal,
        "learning_rate": candidate.learning_rate,
        "weighted_accuracy": evidence.estimate(
          np.concatenate(
            [
              evidence.METRICS["weighted_accuracy"](
                history[confusion_name(group)][-1][
                  group.runs_of(candidate.system)
                ]
              )
              for group in members
            ]
          )
        ),
      }
      for (setting, method), members in groups.items()
      for candidate in candidates
    ]
    return loop.Results({"rows": rows}, {})

  summary = loop.run(
    loop.Study(training.init, training.round, training.evaluate, summarize),
    config,
    workdir,
    config.num_epochs,
    "choosing lambda and learning rate in the labelled part",
  )
  chosen = {}
  for setting, method in groups:
    rows = [
      row
      for row in summary["rows"]
      if (row["setting"], row["normalisation"]) == (setting, method)
    ]
    chosen[setting, method] = tuple(
      _best(config, system + suffix(method), candidates_of_system)
      for system, candidates_of_system in (
        ("C1-S", [row for row in rows if not row["lambda"]]),
        ("DANN-S", [row for row in rows if row["lambda"]]),
      )
    )
  return chosen


def _best(config, system: str, rows: list[dict]) -> Recipe:
  best = max(rows, key=lambda row: row["weighted_accuracy"]["mean"])
  return stabilised_recipe(
    config, system, best["lambda"], best["learning_rate"]
  )
