"""What a finished DANN study shows: rows, comparisons, probes and figures.

R runs, E epochs, U utterances of the corpus, C emotions, Q runs whose
representations are looked at, H size of a representation.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from emojax import summary as summaries
from emojax.reports import folds, study
from emojax.runtime import environment
from emojax.summary import Estimate, Row, Summary, System, history_name

_CURVE = "weighted_accuracy"
_PROJECTED = 300  # Utterances in the figure of representations.
_PROBE = "speaker_probe"
# How ids end where features are normalised by speaker.
_BY_SPEAKER = "_speaker_norm"


class Kept(NamedTuple):
  """The system that the run's folder `model` has, of its first initialisation.

  Its temperature is of calibration; by id the mean weighted accuracy of each
  system on labelled speakers who were held out, empty where there were none.
  """

  setting: str
  system: System
  temperature: float
  held_out: Mapping[str, float]

  def to_json(self) -> dict[str, Any]:
    return {**self._asdict(), "system": self.system.id}


class Utterances(NamedTuple):
  """Who says what."""

  classes: tuple[str, ...]
  class_U: np.ndarray  # -1 where there is none.
  speaker_U: np.ndarray  # Names.
  dialogue_U: np.ndarray  # Names, unique over the corpus.
  corpus_U: np.ndarray
  identity_U: np.ndarray  # Equal for the same utterance in other runs.


@dataclasses.dataclass(frozen=True)
class Trained:
  """All runs of one system in one setting.

  Attributes:
    history: [R, E, ...] by name, `confusion_matrix` [R, E, C, C] among them.
    target_U: emotions to test on, -1 elsewhere.
    logits_RxUxC: of all utterances.
    representation_QxUxH: of all utterances; None of a baseline, which is not
      probed and has one epoch.
  """

  setting: str
  system: System
  history: Mapping[str, np.ndarray]
  target_U: np.ndarray
  logits_RxUxC: np.ndarray
  representation_QxUxH: np.ndarray | None = None


def results(
  config: ml_collections.ConfigDict,
  utterances: Utterances,
  trained: Iterable[Trained],
  found: Mapping[str, Any],
  kept: Kept,
) -> tuple[Summary, Mapping[str, Any]]:
  """The summary, and further files as functions of a path.

  `trained` is every system of every setting; `found` what the search of the
  stabilised recipe gives, empty without one; `kept` the system in `model`.
  """
  rows, history, points, confusions = [], {}, {}, {}
  systems, outputs, tested = {}, {}, {}
  for one in trained:
    id_, label = one.system.id, one.system.label
    systems[id_] = one.system
    tested[one.setting, id_] = _tested(utterances, one)
    rows.append(_row(config, utterances, one, tested[one.setting, id_]))
    if one.representation_QxUxH is None:
      continue
    if (one.setting, one.system) == (kept.setting, kept.system):
      outputs = _outputs(one)
    history |= _history(one)
    of_setting = confusions.setdefault(one.setting, {})
    of_setting[label] = one.history["confusion_matrix"][:, -1].sum(0)
    if one.setting == rows[0].setting:
      points[label] = one.representation_QxUxH[0]
  rows += [
    folds.row(folds.ALL, id_, of_all)
    for id_, of_all in folds.together(tested).items()
  ]
  summary = Summary(
    study="dann",
    title=config.title,
    demo=bool((utterances.corpus_U == "demo").any()),
    classes=utterances.classes,
    selection=summaries.LAST_EPOCH,
    metrics=tuple(summaries.METRICS),
    systems=tuple(systems.values()),
    rows=tuple(rows),
    comparisons=summaries.compare(
      rows, _pairs([*systems]), (*summaries.METRICS, _PROBE)
    ),
    details={**found, "kept": kept.to_json()},
    curve=_CURVE,
    test_digest=_digest(utterances, tested),
    model=_of_model(kept),
    **environment.describe(),
  )
  shown = [
    *study.over_runs(summary, history, confusions, _CURVE, "unseen speakers"),
    _representations(config, utterances, points, summary),
  ]
  published, notes = config.published.to_dict(), _notes(config, summary)
  return summary, {
    **study.files(summary, shown, published, notes),
    "history.npz": lambda path: np.savez_compressed(path, **history),
    "outputs.npz": lambda path: np.savez_compressed(path, **outputs),
  }


def _outputs(one: Trained) -> dict[str, np.ndarray]:
  """Of the first initialisation, for the utterances with a label to test on."""
  tested_M = np.flatnonzero(one.target_U >= 0)
  return {
    "utterance": tested_M,
    "logits": one.logits_RxUxC[0, tested_M],
    "target": one.target_U[tested_M],
  }


def _history(one: Trained) -> dict[str, np.ndarray]:
  """What `history.npz` has of it: its records, and metrics of each epoch."""
  matrices_RxExCxC = one.history["confusion_matrix"]
  curves = {n: f(matrices_RxExCxC) for n, f in summaries.METRICS.items()}
  return {
    history_name(one.setting, one.system.id, name): values
    for name, values in (one.history | curves).items()
  }


def _tested(utterances: Utterances, one: Trained) -> folds.Tested:
  rows = np.flatnonzero(one.target_U >= 0)
  return folds.Tested(
    rows,
    one.target_U[rows],
    utterances.speaker_U[rows],
    one.logits_RxUxC[:, rows],
  )


def _digest(utterances: Utterances, tested) -> str:
  return summaries.digest(
    {
      setting: sorted(utterances.identity_U[one.row_U].tolist())
      for (setting, _), one in tested.items()
    }
  )


def _row(
  config, utterances: Utterances, one: Trained, tested: folds.Tested
) -> Row:
  from emojax.reports.speaker_probe import speaker_probe

  confusion_RxExCxC = one.history["confusion_matrix"]
  row = summaries.row(one.setting, one.system.id, confusion_RxExCxC[:, -1])
  row = folds.over_speakers(row, tested)
  if one.representation_QxUxH is None:
    return row
  speakers, dialogues = utterances.speaker_U, utterances.dialogue_U
  probes = [
    speaker_probe(representation_UxH, speakers, dialogues, config.seed)
    for representation_UxH in one.representation_QxUxH
  ]
  probe = {} if None in probes else {_PROBE: Estimate.of(probes)}
  return dataclasses.replace(
    row,
    metrics={**row.metrics, **probe},
    oracle=summaries.oracle(confusion_RxExCxC.swapaxes(0, 1)),
  )


def _pairs(ids: Sequence[str]) -> list[tuple[str, str]]:
  """Which systems are compared, by their ids.

  Of one normalisation everything with C1, DANN-S with the C1 that shares its
  recipe, and each DANN with what is neither: rivals, and baselines, which are
  trained once and compared over speakers. Then z-scores by speaker with C1.
  """
  pairs = []
  for end in ("", _BY_SPEAKER):
    here = [id_ for id_ in ids if id_.endswith(_BY_SPEAKER) == bool(end)]
    dann = [id_ for id_ in here if id_.startswith("dann")]
    ours = [*dann, f"c1{end}", f"c1_s{end}"]
    others = [id_ for id_ in here if id_ not in ours]
    pairs += [(id_, f"c1{end}") for id_ in here]
    pairs.append((f"dann_s{end}", f"c1_s{end}"))
    pairs += itertools.product(dann, others)
  pairs += [(id_, "c1") for id_ in ids if id_.endswith(_BY_SPEAKER)]
  return [(a, b) for a, b in pairs if a != b and {a, b} <= set(ids)]


def _representations(config, utterances, points, summary) -> study.Shown:
  title = study.title(summary)
  return study.Shown(
    "representations.png",
    lambda path: _draw_representations(
      path, config.seed, utterances, points, title
    ),
    f"Representations, first initialisation, {summary.rows[0].setting}",
  )


def _draw_representations(path, seed, utterances, points, title) -> None:
  from emojax.reports import figures, projection

  rng = np.random.default_rng(seed)
  labelled = np.flatnonzero(utterances.class_U >= 0)
  shown = rng.permutation(labelled)[:_PROJECTED]
  projected = {
    label: projection.project(representation_UxH[shown], seed)
    for label, representation_UxH in points.items()
  }
  speakers = utterances.speaker_U[shown]
  emotions = np.array(utterances.classes)[utterances.class_U[shown]]
  title = f"{title}: representations of the first initialisation"
  figures.projections(path, projected, speakers, emotions, title)


def _of_model(kept: Kept) -> str:
  why = "the last one of the config"
  if kept.held_out:
    share = 100 * kept.held_out[kept.system.id]
    why = (
      f"the best on labelled speakers who were held out (weighted accuracy "
      f"{share:.1f} %), its temperature {kept.temperature:.2f} fitted on them"
    )
  return (
    f"`model/` is {kept.system.label}, {kept.setting}, first initialisation: "
    f"{why}."
  )


def adversary(seen: Mapping[str, Any]) -> str:
  """Whether an adversary can help, in a sentence."""
  gain, error = 100 * seen["gain"], 100 * seen["standard_error"]
  probe = "speakers have one dialogue each, and are not probed"
  if seen["probe"] is not None:
    probe = (
      f"a probe names {100 * seen['probe']:.1f} % of the labelled speakers in "
      f"C1-S's representation (chance {100 * seen['chance']:.1f} %)"
    )
  verdict = "an adversary helps"
  if not seen["has_identity"]:
    verdict = "there is nothing to forget, and DANN-S is C1-S (lambda = 0)"
  elif not seen["helps"]:
    verdict = "that is not enough, and DANN-S is C1-S (lambda = 0)"
  return (
    f"{seen['setting']}, features normalised by {seen['normalisation']}: "
    f"{probe}; the best lambda > 0, {seen['reversal']:g}, gains {gain:.1f} "
    f"points on who is held out (standard error {error:.1f}): {verdict}."
  )


def _notes(config, summary: Summary) -> list[str]:
  """What is kept; how the stabilised recipe was found, and what that took."""
  found = summary.details
  if "chosen" not in found:
    return [summary.model]
  chosen = [
    f"{one['setting']}: {one['label']} chose lambda = "
    f"{one['recipe']['reversal']:g} and learning rate = "
    f"{one['recipe']['learning_rate']:g} on held-out parts of the labelled "
    "speakers."
    for one in found["chosen"]
  ]
  chosen += [adversary(one) for one in found["adversary"]]
  ends = itertools.accumulate(rung["epochs"] for rung in found["rungs"])
  rungs = ", then ".join(
    f"{rung['runs']} runs to epoch {end}"
    for rung, end in zip(found["rungs"], ends, strict=True)
  )
  trained = found["epochs_trained"]
  ours = config.num_epochs * sum(
    len(row.metrics[_CURVE].runs) for row in summary.rows if row.oracle
  )
  return [
    summary.model,
    *chosen,
    f"The search of the stabilised recipe trained {rungs}: {trained:,} epochs "
    f"of a run, {100 * found['share_of_grid']:.0f} % of what all candidates "
    f"would have taken. The study itself has {ours:,}.",
  ]
