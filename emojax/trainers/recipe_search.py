"""The search of DANN's stabilised recipe, inside the labelled part.

Each of its sessions (or groups of speakers) is held out in turn; labels of test
speakers are never read. And how systems of a normalisation are named.
"""

import functools
import itertools
import json
import shutil
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np

from emojax import metrics, runs
from emojax.data import conversations, splits
from emojax.data.conversations import Conversations, Setting
from emojax.runtime import files, hosts
from emojax.summary import System
from emojax.trainers import halving
from emojax.trainers.run_axis import Cohort, Training

SPEAKER = "speaker"  # The normalisation that names systems.


def named(id_: str, label: str, method: str) -> System:
  """A system as it is called where features are normalised by `method`."""
  if method == SPEAKER:
    return System(f"{id_}_speaker_norm", f"{label} + speaker norm")
  return System(id_, label)


def methods(config) -> list[str]:
  """The normalisations that a study compares."""
  return [method.strip() for method in config.data.normalisation.split(",")]


def search(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  grid: runs.Grid,
  recipe: Callable[[float, float], Any],
  make_training: Callable[[list[Cohort], int], Training],
) -> dict[str, Any]:
  """Chooses lambda and learning rate for C1-S and DANN-S.

  All candidates of all folds of all settings are trained side by side. The best
  mean weighted accuracy on the held-out parts wins, see `halving`; those of
  lambda = 0 compete among themselves.

  Args:
    config: the study's.
    corpus: its data.
    grid: its folder.
    recipe: from lambda and learning rate to a recipe, a named tuple.
    make_training: of cohorts, from an epoch on.

  Returns:
    What `search/choice.json` holds: the `chosen` recipes, the `trials` of all
    candidates, how many runs each of the `rungs` trained for how many epochs,
    and what that sums up to.
  """
  folder = grid.workdir / "search"
  stored = folder / "choice.json"
  if not hosts.asked(stored.exists):
    folds = _Folds(config, corpus, grid, recipe, make_training)
    chosen, trials = halving.search(
      folds.contests(), config.num_epochs, folds.train
    )
    trained = sum(rung["runs"] * rung["epochs"] for rung in folds.rungs)
    found = {
      "chosen": [_plain(*one) for one in chosen.items()],
      "trials": [
        _plain(one.contest, one.candidate)
        | {"epoch": one.epoch, "weighted_accuracy": one.score}
        for one in trials
      ],
      "rungs": folds.rungs,
      "epochs_trained": trained,
      "share_of_grid": trained / (folds.rungs[0]["runs"] * config.num_epochs),
    }
    if hosts.is_first():
      with files.whole(stored) as path:
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
      for checkpoints in folder.glob("*/checkpoints"):
        shutil.rmtree(checkpoints)  # 6 GB each with the features of the paper.
    hosts.wait()
  return json.loads(stored.read_text(encoding="utf-8"))


def _plain(contest: tuple[str, str, System], recipe) -> dict[str, Any]:
  setting, method, system = contest
  return {
    "setting": setting,
    "normalisation": method,
    "system": system.id,
    "label": system.label,
    "recipe": recipe._asdict(),
  }


class _Folds:
  """The trainings of the search, rung by rung.

  A contest is a setting, a normalisation and the system that is looked for.
  """

  def __init__(self, config, corpus, grid, recipe, make_training):
    self._config, self._grid = config, grid
    self._recipe, self._make_training = recipe, make_training
    self._folds: dict[tuple[str, str], list[Setting]] = {}
    for name, split in corpus.splits.items():
      inner = splits.inner_folds(
        split, corpus.names, config.stabilised.num_folds
      )
      for method in methods(config):
        self._folds[name, method] = [
          conversations.prepare(
            config, corpus, f"{name}, fold {number}", fold, method
          )
          for number, fold in enumerate(inner, start=1)
        ]
    conversations.share_shapes(list(itertools.chain(*self._folds.values())))
    self._cohorts: dict[tuple[str, str], list[Cohort]] = {}
    self._states = {}
    self.rungs = []

  def contests(self) -> halving.Contests:
    """All candidates."""
    options, found = self._config.stabilised, {}
    for name, method in self._folds:
      c1 = named("c1_s", "C1-S", method)
      dann = named("dann_s", "DANN-S", method)
      for system, lambdas in ((c1, (0.0,)), (dann, options.lambdas)):
        found[name, method, system] = [
          self._recipe(*one)
          for one in itertools.product(lambdas, options.learning_rates)
        ]
    return found

  def train(self, rung: halving.Rung) -> Callable[[Any, Any], float]:
    """Goes on with the candidates that are left."""
    before = list(itertools.chain(*self._cohorts.values()))
    for key, folds in self._folds.items():
      recipes = {
        _candidate(recipe, key[1]): recipe
        for contest, candidates in rung.contests.items()
        if contest[:2] == key
        for recipe in candidates
      }
      num_seeds = self._config.stabilised.search_replicates
      self._cohorts[key] = [Cohort(fold, recipes, num_seeds) for fold in folds]
    cohorts = list(itertools.chain(*self._cohorts.values()))
    training = self._make_training(cohorts, rung.first)
    self._states, history = self._grid.loop(
      training.study(functools.partial(self._start, training, before)),
      self._grid.workdir / "search" / f"rung-{rung.number}",
      rung.last - rung.first,
      f"choosing lambda and learning rate, up to epoch {rung.last}",
    )
    num_runs = sum(len(cohort.runs) for cohort in cohorts)
    self.rungs.append({"runs": num_runs, "epochs": rung.last - rung.first})
    return functools.partial(self._score, history)

  def _start(self, training: Training, before: list[Cohort]):
    states, self._states = self._states, {}  # Their memory is needed.
    return training.carry_over(before, states) if before else training.init()

  def _score(self, history, contest, recipe) -> float:
    """Mean weighted accuracy on the held-out parts after the last epoch."""
    *key, _ = contest
    system = _candidate(recipe, key[1])
    accuracy = [
      metrics.weighted_accuracy(
        cohort.recorded(system, history)["confusion_matrix"][:, -1]
      )
      for cohort in self._cohorts[*key]
    ]
    return float(np.concatenate(accuracy).mean())


def _candidate(recipe, method: str) -> System:
  id_ = f"lambda_{recipe.reversal:g}_rate_{recipe.learning_rate:g}"
  return named(id_, id_, method)
