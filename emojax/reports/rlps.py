"""What a study with a selector reports: Tables 2 to 5, Figs. 5, 8 and 9.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition". N examples of a training part, K classes, R
runs, T epochs.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import markdown
from emojax import summary as summaries
from emojax.metrics import confusion_figures
from emojax.reports import folds, study, tables
from emojax.runtime import environment
from emojax.summary import Estimate, Row, Summary, System

CURVE = "validation_unweighted_accuracy"
METRICS = (
  "unweighted_accuracy",
  "f1_of_averages",
  "weighted_accuracy",
  "macro_precision",
  "macro_f1",
)
_COMPARED = METRICS[:3]
# Who retains a number of examples: what they order by is no probability.
_RIVALS = ("small_loss", "random")
# Further outcomes of a run that are said in the report, where they occurred.
_REMARKS = {
  "epochs_without_any": "nothing was retained, and the classifier waited",
  "epochs_without_a_class": "a class vanished from what was retained",
  "epochs_with_all": "everything was retained",
}

# From rooms beside this one: a `data.noise.NoisyDataset`, a `runs.Outcome`.
NoisyDataset = Any
Outcome = Any
Outcomes = Mapping[tuple[str, str], Sequence[Outcome]]  # By setting and system.


def parts_table(data: NoisyDataset) -> str:
  """How many of each class, and who, are in each part, and what is in two."""
  columns = ["speakers"] if data.who else []
  rows = [["part", "examples", *columns, *data.classes]]
  for name, part in data.parts.items():
    counts = np.bincount(part.label_N, minlength=len(data.classes))
    who = [data.who[name]] if data.who else []
    rows.append([name, str(len(part)), *who, *map(str, counts)])
  return "\n\n".join([markdown.table(rows), *data.notes])


def summarize(
  config: ml_collections.ConfigDict,
  data_sets: Sequence[NoisyDataset],
  outcomes: Outcomes,
  systems: Mapping[str, str],
) -> Summary:
  """Rows and comparisons of all runs.

  A data set is one setting; `systems` are labels by id, in the tables' order.
  """
  by_setting = {data.setting: data for data in data_sets}
  rows = [
    _row(by_setting[setting], system, group)
    for (setting, system), group in outcomes.items()
  ]
  rows += _of_all(data_sets, outcomes)
  return Summary(
    study="rlps",
    title=config.title,
    demo=any(data.demo for data in data_sets),
    classes=data_sets[0].classes,
    selection=summaries.BEST_EPOCH,
    metrics=METRICS,
    systems=tuple(System(*one) for one in systems.items()),
    rows=tuple(rows),
    comparisons=summaries.compare(rows, _pairs([*systems]), _COMPARED),
    runs=tuple(
      dataclasses.asdict(one.run) | dict(one.figures)
      for one in itertools.chain(*outcomes.values())
    ),
    curve=CURVE,
    test_digest=summaries.digest(
      {data.setting: data.test_digest_N.tolist() for data in data_sets}
    ),
    **environment.describe(),
  )


def files(
  config: ml_collections.ConfigDict,
  data_sets: Sequence[NoisyDataset],
  outcomes: Outcomes,
  summary: Summary,
  learned: Sequence[str],
) -> dict[str, study.Write]:
  """Writers of the report, its figures and `selections.npz`, by file name.

  `learned` are the systems whose selector learns from rewards.
  """
  shown = itertools.chain.from_iterable(
    _figures(number, data, outcomes, summary, learned)
    for number, data in enumerate(data_sets, start=1)
  )
  notes = list(_notes(config, outcomes, summary, learned))
  notes.append(summary.model)
  selections = _selections(data_sets, outcomes)
  return {
    **study.files(summary, shown, config.published.to_dict(), notes),
    "selections.npz": lambda path: np.savez_compressed(path, **selections),
  }


def figures_of_run(
  data: NoisyDataset,
  confusion_KxK: np.ndarray,
  retained_N: np.ndarray,
  history: Mapping[str, np.ndarray],
) -> dict[str, Any]:
  """What is kept of a run: its test part, its final selection, its epochs."""
  present_K = np.bincount(data.train.label_N, minlength=len(data.classes))
  gone_TxK = (history["retained_of_classes"] == 0) & (present_K > 0)
  count_T = history["retained"]
  return {
    "test": confusion_figures(confusion_KxK),
    "retained": int(retained_N.sum()),
    "epochs_without_any": int((count_T == 0).sum()),
    "epochs_with_all": int((count_T == len(retained_N)).sum()),
    "epochs_without_a_class": int((gone_TxK.any(1) & (count_T > 0)).sum()),
  }


def noise_detection(
  probability_N: np.ndarray, retained_N: np.ndarray, noisy_N: np.ndarray
) -> dict[str, float | None]:
  """The removal of noise as a detection of noise.

  Of the probability of being retained only the order counts: of a selection by
  small loss it may be the negative loss.

  Returns:
    Fractions, None where they are undefined.
    `auc`: how often a noisy example has a lower probability than another one,
      a tie counting half; the area under the curve of hits over false alarms.
    `precision`: share of noise among the removed.
    `recall`: share of the removed among the noise.
    `removed`: share of the removed among all.
  """
  from sklearn import metrics

  removed_N = ~np.asarray(retained_N, bool)
  undefined = {"zero_division": np.nan}
  figures = {
    "auc": metrics.roc_auc_score(noisy_N, -np.asarray(probability_N))
    if len(np.unique(noisy_N)) > 1
    else np.nan,
    "precision": metrics.precision_score(noisy_N, removed_N, **undefined),
    "recall": metrics.recall_score(noisy_N, removed_N, **undefined),
    "removed": removed_N.mean(),
  }
  return {k: float(v) if np.isfinite(v) else None for k, v in figures.items()}


def retention(
  retained_N: np.ndarray, groups_N: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
  """Share that is retained of each group: of a kind of noise, of a class.

  `groups_N` is an index of `names`; a group without an example is left out.
  """
  retained_N, groups_N = np.asarray(retained_N, bool), np.asarray(groups_N)
  return {
    name: float(retained_N[groups_N == group].mean())
    for group, name in enumerate(names)
    if (groups_N == group).any()
  }


def _row(data: NoisyDataset, system: str, group: Sequence[Outcome]) -> Row:
  """A row; a system that selects has `retained` and `probability` outputs."""
  row = _of_test(data, system, _tested(data, group))
  if "retained" not in group[0].outputs:
    return row
  groups = row.groups | _selection_groups(data, group)
  return dataclasses.replace(row, groups=groups)


def _of_all(
  data_sets: Sequence[NoisyDataset], outcomes: Outcomes
) -> Iterator[Row]:
  """All folds together, for each kind of noise."""
  for added in dict.fromkeys(data.added for data in data_sets):
    splits = {d.setting: d for d in data_sets if d.added == added}
    tested = {
      (setting, system): _tested(splits[setting], group)
      for (setting, system), group in outcomes.items()
      if setting in splits
    }
    data = dataclasses.replace(next(iter(splits.values())), split=folds.ALL)
    for system, of_all in folds.together(tested).items():
      yield _of_test(data, system, of_all)


def _tested(data: NoisyDataset, group: Sequence[Outcome]) -> folds.Tested:
  test = data.parts["test"]
  return folds.Tested(
    test.row_N,
    test.label_N,
    data.test_speaker_N,
    np.stack([one.outputs["test_logits"] for one in group]),
  )


def _of_test(data: NoisyDataset, system: str, tested: folds.Tested) -> Row:
  """What a test part says, of each class, too."""
  confusions = tested.confusions()
  figures = [confusion_figures(one) for one in confusions]
  recall_RxK = np.stack([_recall(one) for one in confusions])
  recall = {
    name: Estimate.of(recall_RxK[:, index])
    for index, name in enumerate(data.classes)
    if np.isfinite(recall_RxK[:, index]).all()
  }
  row = Row(
    data.setting,
    system,
    {name: Estimate.of([f[name] for f in figures]) for name in METRICS},
    groups={"class_recall": recall},
  )
  return folds.over_speakers(row, tested)


def _pairs(systems: Sequence[str]) -> list[tuple[str, str]]:
  """RLPS and RLPS-S with all others; all that selects with what does not."""
  ours = [one for one in ("rlps", "rlps_s") if one in systems]
  others = [one for one in systems if one not in ours]
  pairs = [*itertools.combinations(ours, 2), *itertools.product(ours, others)]
  if "none" in others:
    pairs += [(one, "none") for one in others if one != "none"]
  return pairs


def _selection_groups(data: NoisyDataset, group: Sequence[Outcome]) -> dict:
  """What the final selections retain, and how well they find the noise."""
  found = {"retention": [], "class_retention": [], "noise_detection": []}
  for one in group:
    kept_N, label_N = one.outputs["retained"], data.train.label_N
    found["retention"].append({"all": float(kept_N.mean())})
    found["class_retention"].append(retention(kept_N, label_N, data.classes))
    if data.noisy_N is not None:
      found["retention"][-1] |= retention(kept_N, data.kind_N, data.kinds)
      found["noise_detection"].append(
        noise_detection(one.outputs["probability"], kept_N, data.noisy_N)
      )
  return {name: _estimates(runs) for name, runs in found.items() if runs}


def _recall(confusion_KxK: np.ndarray) -> np.ndarray:
  """Of each class; NaN where the test part has none of it."""
  count_K = confusion_KxK.sum(1)
  hits_K = confusion_KxK.diagonal()
  return np.where(count_K > 0, hits_K / np.maximum(count_K, 1), np.nan)


def _estimates(runs: Sequence[dict]) -> dict[str, Estimate | None]:
  """Of each figure; None where it is undefined in a run."""
  values = {name: [run[name] for run in runs] for name in runs[0]}
  return {k: None if None in v else Estimate.of(v) for k, v in values.items()}


def _selections(data_sets, outcomes: Outcomes) -> dict[str, np.ndarray]:
  """Who was retained, of every run, and what was known of them."""
  arrays = {}
  for data in data_sets:
    arrays[f"{data.setting}/name"] = data.name_N.astype(str)
    arrays[f"{data.setting}/kind"] = np.array(data.kinds)[data.kind_N]
    arrays[f"{data.setting}/label"] = data.train.label_N
    arrays[f"{data.setting}/true_label"] = data.true_label_N
  for (setting, system), group in outcomes.items():
    for one in group:
      for name in one.outputs.keys() & {"retained", "probability"}:
        is_score = name == "probability" and system in _RIVALS
        place = f"{setting}/{system}/{one.run.seed}"
        arrays[f"{place}/{'score' if is_score else name}"] = one.outputs[name]
  return arrays


def _figures(
  number: int, data: NoisyDataset, outcomes: Outcomes, summary: Summary, learned
) -> Iterator[study.Shown]:
  """What is drawn of one setting."""
  from emojax.reports import selection_figures

  title = f"{tables.DEMO}: {data.setting}" if summary.demo else data.setting
  curves = {
    summary.label(system): _curves(data, outcomes[data.setting, system])
    for system in learned
  }
  if curves:
    yield study.Shown(
      f"rewards-{number}.png",
      lambda path: selection_figures.reward_curves(path, curves, title),
      f"{data.setting}: reward and share retained, epoch by epoch (Figs. 8 and "
      "9, a and c)",
    )
  if "rlps" not in learned:
    return
  # Of one run of RLPS: what goes, and what single examples were worth.
  one = outcomes[data.setting, "rlps"][0]
  name = f"{data.setting}, {summary.label('rlps')}, seed {one.run.seed}"
  rewards_TxM = one.history["sampled_rewards"]
  kinds = (data.kind_N[one.history["sampled"][0]], data.kinds)
  kinds = kinds if len(data.kinds) > 1 else ()
  probability_N = one.outputs["probability"]
  yield study.Shown(
    f"sampled-rewards-{number}.png",
    lambda path: selection_figures.sampled_rewards(
      path, rewards_TxM, title, *kinds
    ),
    f"{name}: rewards of {rewards_TxM.shape[1]} sampled examples (Figs. 8 and "
    "9, b)",
  )
  yield study.Shown(
    f"retention-{number}.png",
    lambda path: selection_figures.retention_histogram(
      path, probability_N, data.kind_N, data.kinds, title
    ),
    f"{name}: retention probabilities",
  )
  if data.has_pictures:
    yield study.Shown(
      f"gallery-{number}.png",
      lambda path: _gallery(path, data, probability_N, title),
      f"{name}: images with their retention probability (Fig. 5)",
    )


def _gallery(path, data: NoisyDataset, probability_N: np.ndarray, title: str):
  """Fig. 5, with what is known of each image."""
  from emojax.reports import selection_figures

  names = np.array(data.classes)
  kinds = np.array(data.kinds if len(data.kinds) > 1 else [""])
  labels = names[data.true_label_N], names[data.train.label_N]
  captions = list(map(selection_figures.caption, *labels, kinds[data.kind_N]))
  images = data.train.inputs()
  selection_figures.gallery(path, images, probability_N, captions, title)


def _curves(data: NoisyDataset, group: Sequence[Outcome]):
  from emojax.reports import selection_figures

  counts = np.bincount(data.kind_N, minlength=len(data.kinds))
  retained_RxT = np.stack([one.history["retained"] for one in group])
  retained = {selection_figures.ALL: retained_RxT / counts.sum()}
  if len(data.kinds) > 1:
    of_kinds_RxTxJ = np.stack([o.history["retained_of_kinds"] for o in group])
    for index, kind in enumerate(data.kinds):
      retained[kind] = of_kinds_RxTxJ[..., index] / max(counts[index], 1)
  reward_RxT = np.stack([one.history["reward"] for one in group])
  return selection_figures.Curves(reward_RxT, retained)


def _notes(
  config: ml_collections.ConfigDict,
  outcomes: Outcomes,
  summary: Summary,
  learned: Sequence[str],
) -> Iterator[str]:
  """What a reader of the report has to know beside the tables."""
  yield (
    "All systems of an initialisation start from one pretrained classifier. "
    "Weights are those of the epoch with the best unweighted accuracy on the "
    "validation part; the test part was looked at once, after that."
  )
  systems = dict.fromkeys(system for _, system in outcomes)

  def named(those: Sequence[str]) -> str:
    return ", ".join(summary.label(one) for one in systems if one in those)

  if sure := named([*learned, "rlps_s"]):
    yield (
      f"The final selection of {sure} retains who has a probability of 0.5 or "
      "more, and whom a floor brings back."
    )
  if floored := config.retention_floor and named(learned):
    yield (
      f"Of each class {floored} retain {100 * config.retention_floor:g} % at "
      "least: those that the selector was the least sure to remove come back."
    )
  if rivals := named(_RIVALS):
    yield (
      f"As many as RLPS does, epoch by epoch, and of any class: {rivals}. "
      "Their `score` in `selections.npz` is an order, and no probability."
    )
  if any(
    "retention" in one
    for of in config.published.values()
    for one in of.values()
  ):
    yield (
      'What is published under *What is retained* is called "the selected '
      "probability\" there (Table 5): it may be the mean of the policy's "
      "probabilities, where ours is the share that is retained."
    )
  for (setting, system), group in outcomes.items():
    for one in group:
      name = f"{setting}, {summary.label(system)}, seed {one.run.seed}"
      for field, what in _REMARKS.items():
        count = one.figures[field]
        if count and (field != "epochs_with_all" or system in learned):
          yield f"{name}: in {count} epoch{'s' * (count > 1)} {what}."
