"""What each initialisation leaves behind, and then the whole study.

R initialisations, U clips of a part, C emotions, E evaluations.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np
from scipy import special
from sklearn.metrics import confusion_matrix

from emojax import calibration, loop, statistics
from emojax.data.clips import Material
from emojax.reports import evidence
from emojax.reports import tables as report_tables
from emojax.runtime import environment, files, tensors
from emojax.systems import speech
from emojax.trainers.speech import build, exhibits, step
from emojax.trainers.speech.build import Blueprint

ALL = "all of them"
_HISTORY, _OUTPUTS = "history.npz", "outputs.npz"
_WEIGHTS = "trained.safetensors"
_CURVE = "validation_unweighted_accuracy"


@dataclasses.dataclass(frozen=True)
class Member:
  """One initialisation of one system on one split.

  Attributes:
    setting: the split's name.
    blueprint: the system.
    seed: of the initialisation.
    root: the folder of all of them.
  """

  setting: str
  blueprint: Blueprint
  seed: int
  root: pathlib.Path

  @property
  def folder(self) -> pathlib.Path:
    parts = (self.setting, self.blueprint.name, f"seed-{self.seed}")
    return self.root.joinpath(*map(files.plain_name, parts))


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a finished initialisation has left.

  Attributes:
    member: which one.
    summary: of its folder.
    history: of its folder.
    logits_UxC: of the test clips.
    rows_U: the test clips.
    labels_U: their emotions.
  """

  member: Member
  summary: dict
  history: dict[str, np.ndarray]
  logits_UxC: np.ndarray
  rows_U: np.ndarray
  labels_U: np.ndarray

  @property
  def confusion_CxC(self) -> np.ndarray:
    return _confusion(self.logits_UxC, self.labels_U)


def member_results(
  member: Member, training, trained, best: dict, history: loop.History
) -> loop.Results:
  """Temperature by the validation part; then, once, the test part.

  Args:
    member: the initialisation.
    training: its `Training`.
    trained: its parameters at the best validation.
    best: how good that was, and when.
    history: of its rounds.
  """
  outputs = {}
  for part in ("validation", "test"):
    outputs[f"{part}_logits"] = training.final_logits(
      member.seed, trained, part
    )
    outputs[f"{part}_labels"] = training.labels(part)
  outputs["test_rows"] = training.parts["test"].rows
  temperature = calibration.temperature(
    outputs["validation_logits"], outputs["validation_labels"]
  )
  logits_UxC, labels_U = outputs["test_logits"], outputs["test_labels"]
  errors = {
    name: calibration.expected_calibration_error(
      special.softmax(logits_UxC / t, axis=1), labels_U
    )
    for name, t in (("before", 1.0), ("after", temperature))
  }
  confusion_CxC = _confusion(logits_UxC, labels_U)
  summary = {
    "setting": member.setting,
    "system": member.blueprint.name,
    "seed": member.seed,
    **best,
    "temperature": temperature,
    "expected_calibration_error": errors,
    "test": {
      name: float(metric(confusion_CxC))
      for name, metric in evidence.METRICS.items()
    },
    **environment.describe(),
  }
  return loop.Results(
    summary,
    {
      _HISTORY: lambda path: np.savez_compressed(path, **history),
      _OUTPUTS: lambda path: np.savez_compressed(path, **outputs),
      _WEIGHTS: lambda path: tensors.save(path, trained),
    },
  )


def summarize(
  config: ml_collections.ConfigDict,
  material: Material,
  members: Sequence[Member],
) -> loop.Results:
  """Rows, comparisons, the best model, and what there is to look at."""
  outcomes = [_read(member) for member in members]
  rows = _rows(material, outcomes)
  systems = list(dict.fromkeys(row["system"] for row in rows))
  summary = {
    "study": speech.STUDY,
    "title": config.title,
    "demo": bool((material.corpus_U == "demo").any()),
    "selection": "at the epoch that was best on the validation part",
    "metrics": list(evidence.METRICS),
    "rows": rows,
    "comparisons": evidence.comparisons(
      rows, [(systems[0], other) for other in systems[1:]]
    ),
    "members": [_without_versions(outcome.summary) for outcome in outcomes],
    "test_digest": _test_digest(material, outcomes),
    **environment.describe(),
  }
  best = max(
    (o for o in outcomes if o.member.blueprint.name == systems[0]),
    key=lambda o: o.summary[_CURVE],
  )
  return loop.Results(
    summary, _files(config, material, summary, outcomes, best)
  )


def _rows(material: Material, outcomes: Sequence[Outcome]) -> list[dict]:
  """A row for each setting and system, and for each system over all."""
  groups: dict[tuple[str, str], list[Outcome]] = {}
  for outcome in outcomes:
    key = (outcome.member.setting, outcome.member.blueprint.name)
    groups.setdefault(key, []).append(outcome)
  rows = [
    _row(material, *key, [[outcome] for outcome in group])
    for key, group in groups.items()
  ]
  if len(material.splits) > 1:
    for system in dict.fromkeys(system for _, system in groups):
      by_seed: dict[int, list[Outcome]] = {}
      for (_, name), group in groups.items():
        for outcome in group if name == system else ():
          by_seed.setdefault(outcome.member.seed, []).append(outcome)
      rows.append(_row(material, ALL, system, list(by_seed.values())))
  return rows


def _row(
  material: Material,
  setting: str,
  system: str,
  runs: Sequence[Sequence[Outcome]],
) -> dict:
  """A row; each run is one initialisation on one or on several settings."""
  confusion_RxCxC = np.stack(
    [sum(outcome.confusion_CxC for outcome in run) for run in runs]
  )
  row = evidence.row(setting, system, confusion_RxCxC[None])
  del row["oracle"]  # The test part was looked at once.
  hits_RxU = np.stack(
    [
      np.concatenate([o.logits_UxC.argmax(1) == o.labels_U for o in run])
      for run in runs
    ]
  )
  rows_U = np.concatenate([o.rows_U for o in runs[0]])
  labels_U = np.concatenate([o.labels_U for o in runs[0]])
  speakers_U = material.speaker_U[rows_U]
  if len(np.unique(speakers_U)) > 1:
    for name, statistic in (
      ("weighted_accuracy", lambda hits, labels: hits.mean()),
      ("unweighted_accuracy", _mean_recall),
    ):
      row[name]["ci95_speakers"] = list(
        statistics.cluster_bootstrap(
          statistic, speakers_U, hits_RxU.mean(0), labels_U
        )
      )
  for when in ("before", "after"):
    row[f"calibration_error_{when}"] = evidence.estimate(
      [
        np.mean([o.summary["expected_calibration_error"][when] for o in run])
        for run in runs
      ]
    )
  return row


def _mean_recall(hits_U: np.ndarray, labels_U: np.ndarray) -> float:
  return np.mean([hits_U[labels_U == c].mean() for c in np.unique(labels_U)])


def _read(member: Member) -> Outcome:
  history = dict(np.load(member.folder / _HISTORY))
  outputs = np.load(member.folder / _OUTPUTS)
  summary = json.loads((member.folder / "summary.json").read_text())
  return Outcome(
    member,
    summary,
    history,
    outputs["test_logits"],
    outputs["test_rows"],
    outputs["test_labels"],
  )


def _confusion(logits_UxC: np.ndarray, labels_U: np.ndarray) -> np.ndarray:
  classes = np.arange(logits_UxC.shape[1])
  return confusion_matrix(labels_U, logits_UxC.argmax(1), labels=classes)


def _without_versions(summary: dict) -> dict:
  return {k: v for k, v in summary.items() if k not in ("versions", "device")}


def _test_digest(material: Material, outcomes: Sequence[Outcome]) -> str:
  """One name for the same test clips, over all settings."""
  rows = {o.member.setting: o.rows_U for o in outcomes}
  content = [[s, *material.digest_U[rows[s]].tolist()] for s in sorted(rows)]
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _files(config, material, summary, outcomes, best: Outcome) -> dict:
  """All that a person looks at, as functions of a path."""
  system = dataclasses.replace(
    best.member.blueprint.system, temperature=best.summary["temperature"]
  )
  params = _params(config, best)
  shown = [
    *exhibits.of_study(summary, outcomes, material.classes),
    *exhibits.of_best(
      summary, build.round_name(config), material, system, params, best
    ),
  ]
  report = report_tables.report(
    summary,
    {one.caption: one.file for one in shown if one.caption},
    config.published.to_dict(),
    _notes(summary, best),
  )
  history = {
    f"{o.member.setting}/{o.member.blueprint.name}/{o.member.seed}/{name}": v
    for o in outcomes
    for name, v in o.history.items()
  }
  return {
    **{one.file: one.write for one in shown},
    **speech.files("model", system, params),
    "history.npz": lambda path: np.savez_compressed(path, **history),
    "report.md": lambda path: path.write_text(report),
  }


def _params(config, best: Outcome):
  """All parameters that prediction needs: the adversary has had its day."""
  key = build.run_key(config, best.member.seed)
  _, frozen = best.member.blueprint.init(key)
  trained = tensors.load(best.member.folder / _WEIGHTS)
  trained.pop("domain_classifier", None)
  return step.merge(frozen, trained)


def _notes(summary: dict, best: Outcome) -> list[str]:
  """What a reader of the report has to know beside the tables."""
  errors = [
    f"{row['setting']}, {row['system']}: "
    f"{100 * row['calibration_error_before']['mean']:.1f} % before temperature "
    f"scaling, {100 * row['calibration_error_after']['mean']:.1f} % after"
    for row in summary["rows"]
  ]
  member = best.member
  return [
    "Weights are those of the epoch with the best unweighted accuracy on the "
    "validation part; the test part was looked at once, after that.",
    f"`model/` is {member.blueprint.name}, {member.setting}, seed "
    f"{member.seed}: the best on its validation part, "
    f"{100 * best.summary[_CURVE]:.1f} % at epoch "
    f"{best.summary['best_epoch']:g}. Figures of single clips are of it. "
    "[misclassified/index.html](misclassified/index.html) plays what it got "
    "wrong.",
    "Expected calibration error on the test part (15 bins): "
    + "; ".join(errors)
    + ".",
  ]
