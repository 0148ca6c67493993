"""The runs of the study as files; its summary and tables."""

import datetime
import itertools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from emojax import markdown, statistics
from emojax import summary as summaries
from emojax.runtime import environment, files
from emojax.summary import Comparison, Estimate, Row, Summary, System
from experiments.rlps_s.settings import SETTINGS, SPEECH

LABELS = {
  "none": "the classifier alone",
  "with_validation": "the classifier alone, with the validation part",
  "rlps_s": "RLPS-S",
  "rlps_s_with_validation": "RLPS-S, with the validation part",
  "out_of_fold": "small loss, out of fold (RLPS-S' own score)",
  "small_loss": "small loss",
  "told_apart": "logistic regression (sees the validation labels, too)",
  "cleanlab": "confident learning (cleanlab)",
  "co_teaching": "co-teaching",
  "scn": "SCN",
  "random": "random",
}
CLASSIFIERS = {
  "cnn": "CNN",
  "small_cnn": "small CNN",
  "dense": "dense on oriented gradients",
}
METRICS = ("weighted_accuracy", "unweighted_accuracy", "auc")
_OVER_EXAMPLES = (
  "percentile bootstrap over test examples, each with the mean of all "
  "initialisations"
)
_KEPT = ("retained_right", "retained_wrong")
_FACES = tuple(f"retained_{kind} face" for kind in ("full", "half", "none"))


class Runs:
  """The file of one setting with one classifier: an entry an initialisation."""

  def __init__(self, folder: pathlib.Path, classifier: str, name: str):
    """Reads what is there of the setting called so, in `folder/runs`."""
    self._path = folder / "runs" / f"{classifier}_{name}.json"
    self._path.parent.mkdir(parents=True, exist_ok=True)
    reads = "dense" if name == SPEECH else CLASSIFIERS[classifier]
    self._setting = f"{SETTINGS[name].label}; {reads}"
    self._runs = _read(self._path) if self._path.exists() else []

  @property
  def seeds(self) -> set[int]:
    """Those that are done."""
    return {one["seed"] for one in self._runs}

  def add(self, seed: int, figures: Sequence[dict]) -> None:
    """Adds the figures of all systems, and what they were measured with."""
    self._runs.append(
      {
        "setting": self._setting,
        "seed": seed,
        **environment.describe(),
        "date": datetime.date.today().isoformat(),
        "figures": figures,
      }
    )
    with files.whole(self._path) as path:
      path.write_text(json.dumps(self._runs, indent=1) + "\n", encoding="utf-8")


def pack(hits_T: np.ndarray) -> dict[str, Any]:
  """Whether each test example was named rightly, as a JSON file keeps it."""
  bits = np.packbits(hits_T).tobytes().hex()
  return {"count": len(hits_T), "bits": bits}


def _unpack(hits: dict[str, Any]) -> np.ndarray:
  """As it was before `pack`, bool [T]."""
  found = np.frombuffer(bytes.fromhex(hits["bits"]), np.uint8)
  return np.unpackbits(found, count=hits["count"]).astype(bool)


def _read(path: pathlib.Path) -> list[dict]:
  return json.loads(path.read_text(encoding="utf-8"))


def summarize(folder: pathlib.Path) -> Summary:
  """Rows and paired tests of all runs in a folder."""
  names = (f"{c}_{name}.json" for c in CLASSIFIERS for name in SETTINGS)
  paths = (folder / "runs" / name for name in names)
  found = [one for path in paths if path.exists() for one in _read(path)]
  by_row: dict[tuple[str, str], list[dict]] = {}
  for one in sorted(found, key=lambda one: one["seed"]):
    for figures in one["figures"]:
      place = (one["setting"], figures["system"])
      by_row.setdefault(place, []).append(figures)
  order = dict.fromkeys(one["setting"] for one in found)
  rows = tuple(
    _row(*place, by_row[place])
    for place in itertools.product(order, LABELS)
    if place in by_row
  )
  others = [("rlps_s", name) for name in LABELS if name != "rlps_s"]
  others += [(n, "none") for n in LABELS if n not in ("none", "rlps_s")]
  others.append(("rlps_s_with_validation", "with_validation"))
  return Summary(
    study="rlps_s",
    title="RLPS-S: who finds wrong labels, and what it is worth",
    demo=False,
    classes=(),
    selection=summaries.LAST_EPOCH,
    metrics=METRICS,
    systems=tuple(System(*one) for one in LABELS.items()),
    rows=rows,
    comparisons=(
      *summaries.compare(rows, others, METRICS),
      *_over_examples(by_row, [*order], others),
    ),
    runs=tuple(
      {
        **{n: one[n] for n in ("setting", "seed", "device", "versions")},
        **{n: value for n, value in figures.items() if n != "hits"},
      }
      for one in found
      for figures in one["figures"]
    ),
    **environment.describe(),
  )


def _over_examples(
  by_row: dict[tuple[str, str], list[dict]],
  settings: Sequence[str],
  pairs: Sequence[tuple[str, str]],
) -> list[Comparison]:
  """How far differences of weighted accuracy hold for other test examples.

  These are the same in all runs; runs of one kind are what was trained. Where
  a run has not kept what it was right on, nothing is compared.
  """
  found = []
  for setting, (a, b) in itertools.product(settings, pairs):
    sides = [by_row.get((setting, name), []) for name in (a, b)]
    if not all(of and all("hits" in one for one in of) for of in sides):
      continue
    means = [np.mean([_unpack(one["hits"]) for one in of], 0) for of in sides]
    gain_T = means[0] - means[1]
    interval = statistics.cluster_bootstrap(
      *(np.divide, np.arange(len(gain_T)), gain_T, np.ones(len(gain_T)))
    )
    found.append(
      Comparison(
        *(setting, a, b, "weighted_accuracy", float(gain_T.mean())),
        *(interval, None, _OVER_EXAMPLES),
      )
    )
  return found


def _row(setting: str, system: str, of: Sequence[dict]) -> Row:
  retained = [name for name in of[0] if name.startswith("retained")]
  return Row(
    setting,
    system,
    {n: Estimate.of([o[n] for o in of]) for n in METRICS if n in of[0]},
    groups={
      "retention": {n: Estimate.of([o[n] for o in of]) for n in retained}
    },
  )


def write(folder: pathlib.Path) -> None:
  """Writes `summary.json` and `report.md` of a folder's runs into it."""
  summary = summarize(folder)
  with files.whole(folder / summaries.FILE) as path:
    summaries.write(path, summary)
  with files.whole(folder / "report.md") as path:
    path.write_text(_report(summary), encoding="utf-8")


def _report(summary: Summary) -> str:
  parts = [f"# {summary.title}", "Percent, mean ± standard deviation."]
  for setting in summary.settings:
    rows_of = [row for row in summary.rows if row.setting == setting]
    kept = {name for row in rows_of for name in row.groups["retention"]}
    names = (*METRICS, *(_FACES if _FACES[0] in kept else _KEPT))
    rows = [["system", "runs", *names]]
    for row in rows_of:
      figures = {**row.metrics, **row.groups["retention"]}
      runs = str(len(row.metrics[METRICS[0]].runs))
      cells = [_cell(figures.get(name)) for name in names]
      rows.append([summary.label(row.system), runs, *cells])
    parts += [f"## {setting}", markdown.table(rows), _tests(summary, setting)]
  return "\n\n".join(parts) + "\n"


def _tests(summary: Summary, setting: str) -> str:
  """RLPS-S against all others, and these against the classifier alone."""
  lines = [["", *METRICS]]
  pairs = dict.fromkeys(
    (one.a, one.b) for one in summary.comparisons if one.setting == setting
  )
  for a, b in pairs:
    of = {
      one.metric: f"{100 * one.difference:+.1f}{_p_value(one)}"
      for one in summary.comparisons
      if (one.setting, one.a, one.b) == (setting, a, b)
      and one.test == summaries.SIGN_FLIPS
    }
    cells = [of.get(metric, "–") for metric in METRICS]
    lines.append([f"{summary.label(a)} less {summary.label(b)}", *cells])
  return markdown.table(lines)


def _p_value(one: Comparison) -> str:
  """Nothing of one pair."""
  return "" if one.p_value is None else f" (p = {one.p_value:.3f})"


def _cell(one: Estimate | None) -> str:
  if not one:
    return "–"
  spread = f" ± {100 * one.std:.1f}" if len(one.runs) > 1 else ""
  return f"{100 * one.mean:.1f}{spread}"
