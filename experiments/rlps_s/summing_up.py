"""The summary and the tables of the study."""

import pathlib
from collections.abc import Sequence

from emojax import markdown
from emojax import summary as summaries
from emojax.runtime import environment, files
from emojax.summary import Estimate, Row, Summary, System

LABELS = {
  "none": "the classifier alone",
  "rlps_s": "RLPS-S",
  "out_of_fold": "small loss, out of fold (RLPS-S' own score)",
  "small_loss": "small loss",
  "cleanlab": "confident learning (cleanlab)",
  "co_teaching": "co-teaching",
  "scn": "SCN",
  "random": "random",
}
METRICS = ("weighted_accuracy", "unweighted_accuracy", "auc")
_TABLE = (*METRICS, "retained_right", "retained_wrong")


def summarize(found: Sequence[dict]) -> Summary:
  """Rows and paired tests of all runs; classes are those of FERPlus."""
  by_row: dict[tuple[str, str], list[dict]] = {}
  for one in found:
    by_row.setdefault((one["setting"], one["system"]), []).append(one)
  rows = tuple(_row(*place, of) for place, of in by_row.items())
  others = [("rlps_s", name) for name in LABELS if name != "rlps_s"]
  return Summary(
    study="rlps_s",
    title="RLPS-S: who finds wrong labels, and what it is worth",
    demo=False,
    classes=(),
    selection=summaries.LAST_EPOCH,
    metrics=METRICS,
    systems=tuple(System(*one) for one in LABELS.items()),
    rows=rows,
    comparisons=summaries.compare(rows, others, METRICS),
    runs=tuple(found),
    **environment.describe(),
  )


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


def write(folder: pathlib.Path, found: Sequence[dict]) -> None:
  """Writes `summary.json` and `report.md` into a folder."""
  summary = summarize(found)
  with files.whole(folder / summaries.FILE) as path:
    summaries.write(path, summary)
  with files.whole(folder / "report.md") as path:
    path.write_text(_report(summary), encoding="utf-8")


def _report(summary: Summary) -> str:
  parts = [f"# {summary.title}", "Percent, mean ± standard deviation."]
  for setting in summary.settings:
    rows = [["system", "runs", *_TABLE]]
    for row in summary.rows:
      if row.setting == setting:
        figures = {**row.metrics, **row.groups["retention"]}
        runs = str(len(row.metrics[METRICS[0]].runs))
        cells = [_cell(figures.get(name)) for name in _TABLE]
        rows.append([summary.label(row.system), runs, *cells])
    tests = [["RLPS-S less", *METRICS]]
    for name in LABELS:
      of = {
        one.metric: f"{100 * one.difference:+.1f} (p = {one.p_value:.3f})"
        for one in summary.comparisons
        if (one.setting, one.b) == (setting, name)
      }
      if of:
        cells = [of.get(metric, "–") for metric in METRICS]
        tests.append([summary.label(name), *cells])
    parts += [f"## {setting}", markdown.table(rows), markdown.table(tests)]
  return "\n\n".join(parts) + "\n"


def _cell(one: Estimate | None) -> str:
  return f"{100 * one.mean:.1f} ± {100 * one.std:.1f}" if one else "–"
