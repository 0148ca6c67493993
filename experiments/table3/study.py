"""Table 3 of Lian et al. on the demo corpus: DANN beside other networks.

  python -m experiments.table3.study --output=FOLDER

All systems are those of `configs/dann.py:table3`, on the same features, batches
and initialisations. Each takes the learning rate with the best mean weighted
accuracy on labelled sessions that are held out in turn; nothing else is chosen,
and no label of the test session is read for it. Trainings are kept in
FOLDER/runs, so that an interrupted study goes on.
"""

import argparse
import dataclasses
import pathlib

import ml_collections
import numpy as np

from configs import dann as configs
from emojax import metrics, runs, summary
from emojax.data import conversations, splits
from emojax.data.conversations import Conversations
from emojax.reports import figures, tables
from emojax.runtime import files
from emojax.summary import Summary
from emojax.trainers import dann

_RATES = (1e-3, 3e-3)  # Of the demo, where 60 epochs are 180 steps, and more.
_SEEDS_OF_CHOICE = 1
_CHANGES = {
  "title": "DANN and others: Session 5 of the demo corpus",
  "split.labelled_sessions": ("1234",),
  "data.corpus": "demo",
  "data.audio_features": "eGeMAPSv02",
  "stabilised.enabled": False,
  "baselines": (),
  "num_replicates": 5,
}


def config_of(rate: float, epochs: int) -> ml_collections.ConfigDict:
  """The config `table3` on the demo corpus."""
  config = configs.get_config("table3")
  config.update_from_flattened_dict(_CHANGES)
  config.published = ml_collections.ConfigDict()  # Of another corpus.
  config.num_epochs, config.optimizer.learning_rate = epochs, rate
  config.checkpoint_every = 50
  return config


def held_out(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  folder: pathlib.Path,
) -> dict[str, float]:
  """Mean weighted accuracy of each system on sessions that are held out."""
  config = config.copy_and_resolve_references()
  config.num_replicates = _SEEDS_OF_CHOICE
  (split,) = corpus.splits.values()
  folds = splits.inner_folds(split, corpus.names, num_folds=4)
  inner = {f"held out {n}": fold for n, fold in enumerate(folds, start=1)}
  corpus = dataclasses.replace(corpus, splits=inner)
  cohorts = dann.make_cohorts(config, corpus, ())
  conversations.share_shapes([one.setting for one in cohorts])
  training = dann.make_training(config, corpus, cohorts)
  _, history = runs.Grid(folder, config).loop(
    training.study(training.init), folder, config.num_epochs, str(folder)
  )
  found: dict[str, list[np.ndarray]] = {}
  for cohort in cohorts:
    for system in cohort.recipes:
      counts_RxCxC = cohort.recorded(system, history)["confusion_matrix"][:, -1]
      accuracy_R = metrics.weighted_accuracy(counts_RxCxC)
      found.setdefault(system.id, []).append(accuracy_R)
  return {id_: float(np.mean(values)) for id_, values in found.items()}


def combine(
  chosen: dict[str, float],
  found: dict[float, Summary],
  scores: dict[float, dict[str, float]],
) -> Summary:
  """Each system's row from the study with its learning rate."""
  first = next(iter(found.values()))
  rows = [
    found[chosen[row.system]].row(row.setting, row.system) for row in first.rows
  ]
  pairs = list(dict.fromkeys((one.a, one.b) for one in first.comparisons))
  names = list(dict.fromkeys(one.metric for one in first.comparisons))
  by_rate = {f"{rate:g}": by_system for rate, by_system in scores.items()}
  return dataclasses.replace(
    first,
    rows=tuple(rows),
    comparisons=summary.compare(rows, pairs, names),
    details={"held_out": by_rate, "learning_rates": chosen},
    model="",
  )


def write(folder: pathlib.Path, result: Summary) -> None:
  """Writes `summary.json`, `report.md` and `comparison.png`."""
  shown = {"Weighted accuracy on Session 5": "comparison.png"}
  rates = ", ".join(
    f"{result.label(id_)} {rate:g}"
    for id_, rate in result.details["learning_rates"].items()
  )
  notes = [f"Learning rates, chosen on held-out labelled sessions: {rates}."]
  with files.whole(folder / "report.md") as path:
    path.write_text(tables.report(result, shown, {}, notes), encoding="utf-8")
  with files.whole(folder / "comparison.png") as path:
    figures.comparison(path, {"": result}, "weighted_accuracy", result.title)
  with files.whole(folder / summary.FILE) as path:
    summary.write(path, result)


def main() -> None:
  """Chooses, trains what is not there yet, and sums up."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--epochs", type=int, default=60)
  arguments = parser.parse_args()
  folder = arguments.output / "runs"
  scores, found = {}, {}
  for rate in _RATES:
    config = config_of(rate, arguments.epochs)
    corpus = conversations.read(config)
    scores[rate] = held_out(config, corpus, folder / f"choice-{rate:g}")
    print(rate, scores[rate], flush=True)
  chosen = {
    system: max(scores, key=lambda rate: scores[rate][system])
    for system in scores[_RATES[0]]
  }
  for rate in sorted(set(chosen.values())):
    config = config_of(rate, arguments.epochs)
    found[rate] = dann.train(config, folder / f"rate-{rate:g}")
  write(arguments.output, combine(chosen, found, scores))


if __name__ == "__main__":
  main()
