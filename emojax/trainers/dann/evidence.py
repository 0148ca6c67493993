"""What a finished study shows: rows, comparisons, probes and figures."""

import dataclasses
import functools

import numpy as np

from emojax import loop, statistics
from emojax.data import batches
from emojax.data.table import FeatureTable
from emojax.reports import baselines, evidence, figures, projection
from emojax.reports import tables as report_tables
from emojax.reports.speaker_probe import speaker_probe
from emojax.runtime import environment
from emojax.trainers.dann.groups import make_group, methods, suffix
from emojax.trainers.dann.training import confusion_name

_PROJECTED = 300  # Utterances in the figure of representations.


def summarize(config, material, training, states, history, chosen):
  """Rows, comparisons, probes and figures of a finished training."""
  rows, points, curves, confusions = [], {}, {}, {}
  for group in training.groups:
    predictions_RxU, representation = _outputs(
      config, material, training, states, group
    )
    for recipe in group.recipes:
      runs, system = group.runs_of(recipe.system), recipe.system
      confusion = history[confusion_name(group)][:, runs]
      probes = [
        speaker_probe(
          representation[system, number],
          material.table.speaker,
          _dialogue_names(material.table),
          config.seed,
        )
        for number in range(_num_probed(config))
      ]
      row = evidence.row(group.setting, system, confusion)
      row["weighted_accuracy"]["ci95_speakers"] = _over_speakers(
        material, group, predictions_RxU[runs]
      )
      if None not in probes:
        row["speaker_probe"] = evidence.estimate(probes)
      rows.append(row)
      accuracy_RxE = evidence.METRICS["weighted_accuracy"](confusion).T
      curves.setdefault(group.setting, {})[system] = 100 * accuracy_RxE
      confusions.setdefault(group.setting, {})[system] = confusion[-1].sum(0)
      if group.setting == training.groups[0].setting:
        points[system] = representation[system, 0]
  if "svm" in config.baselines:
    rows += _svm_rows(config, material)
  systems = list(dict.fromkeys(row["system"] for row in rows))
  summary = {
    "title": config.title,
    "demo": config.data.corpus == "demo",
    "metrics": list(evidence.METRICS),
    "rows": rows,
    "comparisons": evidence.comparisons(rows, _pairs(systems)),
    "chosen": [
      {"setting": setting, "normalisation": method} | dataclasses.asdict(recipe)
      for (setting, method), recipes in chosen.items()
      for recipe in recipes
    ],
    **environment.describe(),
  }
  return loop.Results(
    summary,
    _files(config, material, summary, curves, confusions, points, history),
  )


def _num_probed(config) -> int:
  return min(config.probe_replicates, config.num_replicates)


def _dialogue_names(table: FeatureTable) -> np.ndarray:
  return np.char.add(np.char.add(table.session, "/"), table.dialogue)


def _outputs(config, material, training, states, group):
  """Predictions [R, U], and representations [U, H] by (system, replicate)."""
  num_utterances = len(material.table)
  num_runs = len(group.recipes) * group.num_replicates
  predictions_RxU = np.zeros((num_runs, num_utterances), np.int32)
  probed = {
    (recipe.system, number): group.runs_of(recipe.system).start + number
    for recipe in group.recipes
    for number in range(_num_probed(config))
  }
  representation = {
    key: np.zeros((num_utterances, config.model.hidden), np.float32)
    for key in probed
  }
  everything = batches.Evaluation(
    material.dialogues, group.plan.shape.row_length
  )
  for index_N, predictions_RxN, representation_RxNxH in training.outputs(
    states, group, everything
  ):
    predictions_RxU[:, index_N] = predictions_RxN
    for key, run in probed.items():
      representation[key][index_N] = representation_RxNxH[run]
  return predictions_RxU, representation


def _over_speakers(material, group, predictions_RxU) -> list[float] | None:
  """Interval of the accuracy over the test speakers, for the mean run."""
  tested = np.flatnonzero(group.task.target_U >= 0)
  speakers = material.table.speaker[tested]
  if len(np.unique(speakers)) < 2:
    return None
  hits_RxM = predictions_RxU[:, tested] == group.task.target_U[tested]
  return list(statistics.cluster_bootstrap(np.mean, speakers, hits_RxM.mean(0)))


def _svm_rows(config, material) -> list[dict]:
  """The support vector machine on every setting and normalisation."""
  rows = []
  for setting, split in material.settings.items():
    for method in methods(config):
      group = make_group(config, material, setting, split, method, ())
      features_UxD = np.concatenate(list(group.task.features.values()), axis=1)
      train = np.flatnonzero(group.task.label_U >= 0)
      test = np.flatnonzero(group.task.target_U >= 0)
      confusion = baselines.svm_confusion(
        features_UxD[train],
        group.task.label_U[train],
        features_UxD[test],
        group.task.target_U[test],
        len(material.classes),
      )
      row = evidence.row(setting, "SVM" + suffix(method), confusion[None, None])
      del row["oracle"]  # There is one evaluation only.
      rows.append(row)
  return rows


def _pairs(systems: list[str]) -> list[tuple[str, str]]:
  """Everything against C1, and DANN-S against the C1 that shares its recipe."""
  trained = [system for system in systems if not system.startswith("SVM")]
  pairs = [(system, "C1") for system in trained if system != "C1"]
  for end in ("", suffix("speaker")):
    pairs += [
      ("DANN-S" + end, "C1-S" + end),
      *((s + end, "C1" + end) for s in ("DANN", "DANN-S") if end),
    ]
  return [pair for pair in pairs if set(pair) <= set(trained)]


def _files(config, material, summary, curves, confusions, points, history):
  """`report.md`, its figures, and the history, as functions of a path."""
  title = config.title
  if summary["demo"]:
    title = f"{title}, {report_tables.DEMO}"
  drawn = {
    "Weighted accuracy on unseen speakers while training: mean and 95 % band": (
      "learning_curves.png",
      lambda path: figures.learning_curves(
        path, curves, "weighted accuracy (%)", title
      ),
    ),
    "Weighted accuracy at the last epoch: mean and 95 % interval": (
      "comparison.png",
      lambda path: figures.comparison(path, summary, "weighted_accuracy"),
    ),
    f"Representations, first initialisation, {next(iter(material.settings))}": (
      "representations.png",
      lambda path: _draw_representations(
        path, config.seed, material, points, title
      ),
    ),
  }
  for number, (setting, matrices) in enumerate(confusions.items(), start=1):
    drawn[f"Confusions, {setting}: last epoch, all initialisations"] = (
      f"confusions_{number}.png",
      functools.partial(
        figures.confusion_matrices,
        matrices=matrices,
        classes=material.classes,
        title=f"{title}: {setting}",
      ),
    )
  report = report_tables.report(
    summary,
    {caption: name for caption, (name, _) in drawn.items()},
    config.published.to_dict(),
    _notes(summary),
  )
  return {
    **dict(drawn.values()),
    "history.npz": lambda path: np.savez_compressed(path, **history),
    "report.md": lambda path: path.write_text(report),
  }


def _draw_representations(path, seed, material, points, title) -> None:
  rng = np.random.default_rng(seed)
  labelled = np.flatnonzero(material.class_U >= 0)
  shown = rng.permutation(labelled)[:_PROJECTED]
  figures.projections(
    path,
    {
      system: projection.project(representation[shown], seed)
      for system, representation in points.items()
    },
    material.table.speaker[shown],
    np.array(material.classes)[material.class_U[shown]],
    f"{title}: representations of the first initialisation",
  )


def _notes(summary: dict) -> list[str]:
  """What a reader of the report has to know about the stabilised recipe."""
  return [
    f"{choice['setting']}: {choice['system']} chose lambda = "
    f"{choice['reversal']:g} and learning rate = {choice['learning_rate']:g} "
    "on held-out parts of the labelled speakers."
    for choice in summary["chosen"]
  ]
