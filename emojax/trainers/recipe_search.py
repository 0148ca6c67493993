"""The search of DANN's stabilised recipe, inside the labelled part.

Each of its sessions (or groups of speakers) is held out in turn; labels of test
speakers are never read. And how systems of a normalisation are named.

R runs, U utterances of the corpus.
"""

import functools
import itertools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from emojax import metrics, runs
from emojax.data import conversations, splits
from emojax.data.batches import Evaluation
from emojax.data.conversations import Conversations, Setting
from emojax.runtime import files, hosts
from emojax.summary import System
from emojax.trainers import halving
from emojax.trainers.run_axis import Cohort, Training

SPEAKER = "speaker"  # The normalisation that names systems.
# Of the way from chance to certainty, how far a probe has to come for a speaker
# to be in the representation; see experiments/adversary for what was measured.
LEAST_IDENTITY = 0.1


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
  lambda = 0 compete among themselves. Then the two winners are compared, and
  DANN-S is C1-S where the adversary does not help, see `Adversary.helps`.

  Args:
    config: the study's.
    corpus: its data.
    grid: its folder.
    recipe: from lambda and learning rate to a recipe, a named tuple.
    make_training: of cohorts, from an epoch on.

  Returns:
    What `search/choice.json` holds: the `chosen` recipes, the `trials` of all
    candidates, of each setting what was seen of an `adversary`, how many runs
    each of the `rungs` trained for how many epochs, and what that sums up to.
  """
  folder = grid.workdir / "search"
  stored = folder / "choice.json"
  if not hosts.asked(stored.exists):
    folds = _Folds(config, corpus, grid, recipe, make_training)
    chosen, trials = halving.search(
      folds.contests(), config.num_epochs, folds.train
    )
    seen = folds.adversaries(chosen)
    for one in seen:
      if not one.helps:
        key = one.setting, one.normalisation
        chosen[*key, _dann(key[1])] = chosen[*key, _c1(key[1])]
    trained = sum(rung["runs"] * rung["epochs"] for rung in folds.rungs)
    found = {
      "chosen": [_plain(*one) for one in chosen.items()],
      "trials": [
        _plain(one.contest, one.candidate)
        | {"epoch": one.epoch, "weighted_accuracy": one.score}
        for one in trials
      ],
      "adversary": [one.to_json() for one in seen],
      "rungs": folds.rungs,
      "epochs_trained": trained,
      "share_of_grid": trained / (folds.rungs[0]["runs"] * config.num_epochs),
    }
    if hosts.is_first():
      with files.whole(stored) as path:
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    hosts.wait()
  # 6 GB each with the paper's features; a search may be killed right here.
  if hosts.is_first():
    for checkpoints in folder.glob("*/checkpoints"):
      shutil.rmtree(checkpoints)
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


class Adversary(NamedTuple):
  """What labelled speakers who were held out say of a reversed gradient.

  Attributes:
    setting, normalisation: what is compared.
    reversal: the best lambda > 0.
    gain: of weighted accuracy over the best lambda = 0, mean over speakers.
    standard_error: of that mean.
    probe: how well the speaker is told from C1-S's representation, mean recall;
      None where speakers have one dialogue each.
    chance: what guessing comes to.
  """

  setting: str
  normalisation: str
  reversal: float
  gain: float
  standard_error: float
  probe: float | None
  chance: float

  @property
  def has_identity(self) -> bool:
    """Whether there is a speaker to forget."""
    if self.probe is None:
      return True
    above_chance = (self.probe - self.chance) / (1 - self.chance)
    return above_chance >= LEAST_IDENTITY

  @property
  def helps(self) -> bool:
    """Whether lambda > 0 is worth it: of two alike the simpler one is taken.

    One standard error, as Breiman et al. 1984, "Classification and regression
    trees", 3.4.3, prune by; here of the paired difference.
    """
    return self.has_identity and self.gain > self.standard_error

  def to_json(self) -> dict[str, Any]:
    derived = {"has_identity": self.has_identity, "helps": self.helps}
    return {**self._asdict(), **derived}


def _c1(method: str) -> System:
  return named("c1_s", "C1-S", method)


def _dann(method: str) -> System:
  return named("dann_s", "DANN-S", method)


class _Folds:
  """The trainings of the search, rung by rung.

  A contest is a setting, a normalisation and the system that is looked for.
  """

  def __init__(self, config, corpus, grid, recipe, make_training):
    self._config, self._corpus, self._grid = config, corpus, grid
    self._recipe, self._make_training = recipe, make_training
    self._folds: dict[tuple[str, str], list[Setting]] = {}
    for name in corpus.splits:
      inner = splits.inner_folds(
        conversations.learnable(corpus, name),
        corpus.names,
        config.stabilised.num_folds,
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
      both = (_c1(method), (0.0,)), (_dann(method), options.lambdas)
      for system, lambdas in both:
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
    self._training = training = self._make_training(cohorts, rung.first)
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

  def adversaries(self, chosen: Mapping[Any, Any]) -> list["Adversary"]:
    """Compares the winners of each setting; after the last rung."""
    found = []
    for setting, method in self._folds:
      recipes = [
        chosen[setting, method, system]
        for system in (_c1(method), _dann(method))
      ]
      systems = [_candidate(recipe, method) for recipe in recipes]
      gain_S = self._gains((setting, method), systems)
      found.append(
        Adversary(
          setting,
          method,
          recipes[1].reversal,
          float(np.mean(gain_S)),
          float(np.std(gain_S, ddof=1) / np.sqrt(len(gain_S))),
          *self._identity((setting, method), systems[0]),
        )
      )
    return found

  def _gains(self, key, systems: Sequence[System]) -> list[float]:
    """Accuracy of the second system minus that of the first, by speaker."""
    gains, speaker_U = [], self._corpus.speaker_U
    for cohort in self._cohorts[*key]:
      logits_RxUxC, _ = self._outputs(cohort, ())
      target_U = cohort.setting.task.target_U
      right_RxU = logits_RxUxC.argmax(-1) == target_U
      base_U, other_U = (
        right_RxU[cohort.positions(system)].mean(0) for system in systems
      )
      for speaker in np.unique(speaker_U[target_U >= 0]):
        rows = (target_U >= 0) & (speaker_U == speaker)
        gains.append((other_U - base_U)[rows].mean())
    return gains

  def _identity(self, key, system: System) -> tuple[float | None, float]:
    """How well a probe names labelled speakers, and the chance to do so.

    On what the first initialisation of C1-S, trained on all of them but the
    first part, makes of their utterances.
    """
    from emojax.reports.speaker_probe import probed_speakers, speaker_probe

    cohort = self._cohorts[*key][0]
    first = cohort.positions(system)[:1]
    _, representation_1xUxH = self._outputs(cohort, first)
    rows = self._corpus.splits[key[0]].parts["labelled"]
    speakers = self._corpus.table.speaker[rows]
    dialogues = self._corpus.dialogue_U[rows]
    found = speaker_probe(
      representation_1xUxH[0, rows], speakers, dialogues, self._config.seed
    )
    return found, 1 / max(1, len(probed_speakers(speakers, dialogues)))

  def _outputs(self, cohort: Cohort, kept: Sequence[int]):
    length = cohort.setting.plan.shape.row_length
    evaluation = Evaluation(self._corpus.dialogues, length)
    return self._training.outputs(self._states, cohort, evaluation, kept)

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
