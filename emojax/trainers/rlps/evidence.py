"""A whole RLPS study: rows, comparisons, and what there is to look at."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import ml_collections
import numpy as np

from emojax import loop, statistics
from emojax.metrics import confusion_figures
from emojax.reports import (
  evidence,
  markdown,
  removal,
  selection_figures,
  selection_tables,
)
from emojax.reports import tables as report_tables
from emojax.runtime import environment
from emojax.trainers.rlps.material import Material
from emojax.trainers.rlps.members import Outcome
from emojax.trainers.rlps.strategies import ALL, POLICY, SYSTEMS

METRICS = (
  "macro_recall",
  "macro_precision",
  "macro_f1",
  "f1",
  "total_accuracy",
)


def parts_table(material: Material) -> str:
  """How many examples of each class are in each part, in Markdown."""
  rows = [["part", "examples", *material.classes]]
  for name, part in material.parts.items():
    counts = np.bincount(part.label_N, minlength=len(material.classes))
    rows.append([name, str(len(part.label_N)), *map(str, counts)])
  return markdown.table(rows)


def summarize(
  config: ml_collections.ConfigDict,
  materials: Sequence[Material],
  outcomes: Sequence[Outcome],
) -> loop.Results:
  """Rows, comparisons and exhibits of all runs."""
  groups: dict[tuple[str, str], list[Outcome]] = {}
  for outcome in outcomes:
    key = (outcome.member.setting, outcome.member.system)
    groups.setdefault(key, []).append(outcome)
  by_setting = {material.setting: material for material in materials}
  rows = [
    _row(by_setting[setting], system, group)
    for (setting, system), group in groups.items()
  ]
  demo = any(material.demo for material in materials)
  summary = {
    "study": "rlps",
    "title": config.title,
    "demo": demo,
    "classes": list(materials[0].classes),
    "selection": "at the epoch that was best on the validation part",
    "metrics": list(METRICS),
    "rows": rows,
    "comparisons": _comparisons(rows),
    "published": config.published.to_dict(),
    "members": [
      {k: v for k, v in o.summary.items() if k not in ("versions", "device")}
      for o in outcomes
    ],
    **environment.describe(),
  }
  exhibits = list(_exhibits(summary, by_setting, groups))
  report = selection_tables.report(
    summary,
    {caption: file for file, _, caption in exhibits},
    list(_notes(outcomes, config.retention_floor)),
  )
  history = {
    f"{o.member.setting}/{o.member.system}/{o.member.seed}/{name}": values
    for o in outcomes
    for name, values in o.history.items()
  }
  return loop.Results(
    summary,
    {
      **{file: write for file, write, _ in exhibits},
      "history.npz": lambda path: np.savez_compressed(path, **history),
      "selections.npz": lambda path: np.savez_compressed(
        path, **_selections(by_setting, outcomes)
      ),
      "report.md": lambda path: path.write_text(report),
    },
  )


def _row(material: Material, system: str, group: Sequence[Outcome]) -> dict:
  """A row; every initialisation is a run."""
  figures = [confusion_figures(outcome.confusion_KxK) for outcome in group]
  recall_RxK = np.stack([_recall(outcome.confusion_KxK) for outcome in group])
  row = {
    "setting": material.setting,
    "system": system,
    **{name: evidence.estimate([f[name] for f in figures]) for name in METRICS},
    "class_recall": {
      name: evidence.estimate(recall_RxK[:, index])
      for index, name in enumerate(material.classes)
      if np.isfinite(recall_RxK[:, index]).all()
    },
  }
  if _strategy(system) == ALL:
    return row
  label_N = material.parts["train"].label_N
  of_kinds, of_classes, rankings = [], [], []
  for outcome in group:
    retained_N = outcome.retained_N
    of_kinds.append({"all": float(retained_N.mean())})
    if material.noise:
      of_kinds[-1] |= removal.retention(
        retained_N, material.kind_N, material.kinds
      )
      rankings.append(
        removal.ranking(outcome.probability_N, retained_N, material.noisy_N)
      )
    of_classes.append(removal.retention(retained_N, label_N, material.classes))
  row["retention"] = _estimates(of_kinds)
  row["class_retention"] = _estimates(of_classes)
  if rankings:
    row["removal"] = _estimates(rankings)
  return row


def _recall(confusion_KxK: np.ndarray) -> np.ndarray:
  """Of each class; NaN where the test part has none of it."""
  count_K = confusion_KxK.sum(1)
  hits_K = confusion_KxK.diagonal()
  return np.where(count_K > 0, hits_K / np.maximum(count_K, 1), np.nan)


def _estimates(runs: Sequence[dict]) -> dict:
  """Of each figure; None where it is undefined in a run."""
  return {
    name: None
    if any(run[name] is None for run in runs)
    else evidence.estimate([run[name] for run in runs])
    for name in runs[0]
  }


def _comparisons(rows: Sequence[dict]) -> list[dict]:
  """RLPS against every other system of its setting, run by run."""
  found = []
  for row, other in itertools.product(rows, rows):
    is_ours = row["system"].endswith("+RLPS") and other is not row
    if not is_ours or other["setting"] != row["setting"]:
      continue
    for metric in ("macro_recall", "macro_f1", "total_accuracy"):
      difference = statistics.paired_difference(
        row[metric]["runs"], other[metric]["runs"]
      )
      found.append(
        {
          "setting": row["setting"],
          "a": row["system"],
          "b": other["system"],
          "metric": metric,
          "difference": difference.difference,
          "ci95": difference.ci95 and list(difference.ci95),
          "p_value": difference.p_value,
          "test": "paired sign-flip permutation over initialisations",
        }
      )
  return found


def _selections(by_setting, outcomes) -> dict[str, np.ndarray]:
  """Who was retained, of every run, and what was known of them."""
  arrays = {}
  for setting, material in by_setting.items():
    arrays[f"{setting}/name"] = material.name_N.astype(str)
    arrays[f"{setting}/kind"] = np.array(material.kinds)[material.kind_N]
    arrays[f"{setting}/label"] = material.parts["train"].label_N
    arrays[f"{setting}/true_label"] = material.true_label_N
  for outcome in outcomes:
    member = outcome.member
    prefix = f"{member.setting}/{member.system}/{member.seed}"
    arrays[f"{prefix}/retained"] = outcome.retained_N
    arrays[f"{prefix}/probability"] = outcome.probability_N
  return arrays


def _exhibits(
  summary: dict, by_setting, groups
) -> Iterator[tuple[str, Callable, str]]:
  """Files, who writes them, and captions: Figs. 5, 8 and 9."""
  prefix = f"{report_tables.DEMO}: " if summary["demo"] else ""
  for number, (setting, material) in enumerate(by_setting.items(), start=1):
    title = f"{prefix}{setting}"
    selectors = {
      system: group
      for (where, system), group in groups.items()
      if where == setting and _strategy(system) == POLICY
    }
    if not selectors:
      continue
    curves = {
      system: _curves(material, group) for system, group in selectors.items()
    }
    yield (
      f"rewards-{number}.png",
      lambda path, curves=curves, title=title: selection_figures.reward_curves(
        path, curves, title
      ),
      f"{setting}: reward and share retained, epoch by epoch (Figs. 8 and 9, "
      "a and c)",
    )
    shown = next((g for s, g in selectors.items() if s.endswith("+RLPS")), None)
    if shown is None:
      continue
    yield from _exhibits_of_one(number, material, shown[0], title)


def _exhibits_of_one(number, material: Material, one: Outcome, title: str):
  """Of one run of RLPS: what goes, and what single examples were worth."""
  name = f"{material.setting}, {one.member.system}, seed {one.member.seed}"
  has_kinds = len(material.kinds) > 1
  rewards_TxM = one.history["sampled_rewards"]
  yield (
    f"sampled-rewards-{number}.png",
    lambda path: selection_figures.sampled_rewards(
      path,
      rewards_TxM,
      title,
      material.kind_N[one.history["sampled"][0]] if has_kinds else None,
      material.kinds if has_kinds else (),
    ),
    f"{name}: rewards of {rewards_TxM.shape[1]} sampled examples (Figs. 8 and "
    "9, b)",
  )
  yield (
    f"retention-{number}.png",
    lambda path: selection_figures.retention_histogram(
      path, one.probability_N, material.kind_N, material.kinds, title
    ),
    f"{name}: retention probabilities",
  )
  if material.picture_N is None:
    return
  classes = np.array(material.classes)
  captions = [
    selection_figures.caption(
      classes[true], classes[given], material.kinds[kind] if has_kinds else ""
    )
    for true, given, kind in zip(
      material.true_label_N,
      material.parts["train"].label_N,
      material.kind_N,
      strict=True,
    )
  ]
  yield (
    f"gallery-{number}.png",
    lambda path: selection_figures.gallery(
      path, material.picture_N, one.probability_N, captions, title
    ),
    f"{name}: images with their retention probability (Fig. 5)",
  )


def _strategy(system: str) -> str:
  """Who chooses, in a system as the tables call it."""
  for one in SYSTEMS.values():
    if one.name and system.endswith(f"+{one.name}"):
      return one.strategy
  return ALL


def _curves(material: Material, group: Sequence[Outcome]):
  counts = np.bincount(material.kind_N, minlength=len(material.kinds))
  retained_RxT = np.stack([o.history["retained"] for o in group])
  retained = {selection_figures.ALL: retained_RxT / counts.sum()}
  if len(material.kinds) > 1:
    of_kinds_RxTxJ = np.stack([o.history["retained_of_kinds"] for o in group])
    for index, kind in enumerate(material.kinds):
      retained[kind] = of_kinds_RxTxJ[..., index] / max(counts[index], 1)
  reward_RxT = np.stack([o.history["reward"] for o in group])
  return selection_figures.Curves(reward_RxT, retained)


def _notes(outcomes: Sequence[Outcome], floor: float) -> Iterator[str]:
  """What a reader of the report has to know beside the tables."""
  yield (
    "All systems of an initialisation start from one pretrained classifier. "
    "Weights are those of the epoch with the best average accuracy on the "
    "validation part; the test part was looked at once, after that. The final "
    "selection retains who has a probability of 0.5 or more. `small loss` and "
    "`random` retain as many as RLPS does, epoch by epoch."
  )
  if floor:
    yield (
      f"At least {100 * floor:g} % of each class are retained: those that the "
      "selector was the least sure to remove come back."
    )
  for outcome in outcomes:
    name = (
      f"{outcome.member.setting}, {outcome.member.system}, seed "
      f"{outcome.member.seed}"
    )
    for field, what in (
      ("epochs_without_any", "nothing was retained, and the classifier waited"),
      ("epochs_without_a_class", "a class vanished from what was retained"),
    ):
      if outcome.summary[field]:
        yield f"{name}: in {_epochs(outcome.summary[field])} {what}."
    is_selector = _strategy(outcome.member.system) == POLICY
    if is_selector and outcome.summary["epochs_with_all"]:
      yield (
        f"{name}: in {_epochs(outcome.summary['epochs_with_all'])} everything "
        "was retained."
      )


def _epochs(count: int) -> str:
  return "1 epoch" if count == 1 else f"{count} epochs"
