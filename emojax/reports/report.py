"""Finished runs side by side: a table, tests between them, and figures."""

import dataclasses
import itertools
import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from emojax import markdown, statistics
from emojax import summary as summaries
from emojax.errors import UserError
from emojax.reports import figures, tables
from emojax.reports.tables import DEMO
from emojax.runtime import files
from emojax.summary import Comparison, Estimate, Row, Summary

PAIRED = (
  "paired sign flips: both runs were tested on the same examples, and their "
  "trainings are paired in order; p is 2 / 2^n at least for n pairs"
)
WELCH = (
  "Welch's t: the trainings are two samples of unequal variance; the test "
  "examples are not known to be the same, or the runs have not as many "
  "trainings; of other examples the difficulty may differ, too"
)
_LOG = logging.getLogger(__name__)
_TITLE = "Comparison of runs"
_FAVOURITE = "unweighted_accuracy"  # Is drawn where all runs have it.


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """A run as it is compared; its `history.npz` may be missing, and is empty."""

  name: str
  summary: Summary
  history: Mapping[str, np.ndarray]

  def label(self, system: str) -> str:
    """What people call a system of this run."""
    return f"{self.summary.label(system)} ({self.name})"


def report(
  folders: Sequence[str | pathlib.Path], output: str | pathlib.Path
) -> str:
  """Compares runs of any studies, and writes `comparison.md` and its figures.

  A folder without a finished run is named in a warning and left out. Returns
  Markdown to print.

  Raises:
    UserError: no folder holds a finished run, or one is there twice; the runs
      have no metric in common; `output` holds a run or can not be written.
  """
  folders, output = [pathlib.Path(f) for f in folders], pathlib.Path(output)
  _check(folders, output)
  runs = _read(folders)
  shared = _shared_metrics(runs)
  curves, notes = _curves(runs)
  is_demo = all(run.summary.demo for run in runs)
  names: dict[str, list[str]] = {}
  for run in runs:
    names.setdefault(run.summary.selection, []).append(run.name)
  measured = " ".join(
    f"Measured {k}: {', '.join(v)}." for k, v in names.items()
  )
  sections = [f"# {_TITLE}", _results(runs), measured]
  sections += [*_differences(runs, shared), *notes]
  if is_demo:
    sections.insert(0, f"**{DEMO}**")
  metric = _FAVOURITE if _FAVOURITE in shared else shared[0]
  title = f"{_TITLE}, {DEMO}" if is_demo else _TITLE
  drawn = ["comparison.png"]
  with files.whole(output / drawn[0]) as path:
    shown = {run.name: run.summary for run in runs}
    figures.comparison(path, shown, metric, title)
  if curves:
    drawn.append("learning_curves.png")
    with files.whole(output / drawn[1]) as path:
      units = " or ".join(dict.fromkeys(run.summary.unit for run in runs))
      figures.learning_curves(path, curves, "%", title, units)
  images = [f"![{caption}]({caption})" for caption in drawn]
  with files.whole(output / "comparison.md") as path:
    text = "\n\n".join([*sections, *images])
    path.write_text(text + "\n", encoding="utf-8")
  written = ", ".join(["comparison.md", *drawn])
  return "\n\n".join([*sections, f"Written to {output}: {written}"])


def between(
  a: FinishedRun, b: FinishedRun, metrics: Sequence[str]
) -> list[Comparison]:
  """Every test between two runs, of every one of the metrics.

  Within a setting of both, systems of one id are compared, or all systems where
  no id is in both. A system of one training has no spread and is left out.
  Trainings are paired where the test examples are known to be the same
  (`test_digest` in the summaries) and both systems have as many trainings. The
  comparisons are of `FinishedRun.label`s.
  """
  digest = a.summary.test_digest
  same_examples = digest != "" and digest == b.summary.test_digest
  found = []
  for row_a, row_b in _pairs(a.summary.rows, b.summary.rows, metrics):
    labels = a.label(row_a.system), b.label(row_b.system)
    for metric in metrics:
      values = row_a.metrics[metric].runs, row_b.metrics[metric].runs
      if same_examples and len(values[0]) == len(values[1]):
        result = *statistics.paired_difference(*values), PAIRED
      else:
        result = *statistics.welch(*values), WELCH
      found.append(Comparison(row_a.setting, *labels, metric, *result))
    if same_examples:
      found += summaries.over_same_speakers(row_a, row_b, *labels)
  return found


def _check(folders: Sequence[pathlib.Path], output: pathlib.Path) -> None:
  if not folders:
    raise UserError("no run to report: name one folder of a run or more")
  resolved = [folder.resolve() for folder in folders]
  for index, folder in enumerate(folders):
    if resolved[index] in resolved[:index]:
      raise UserError(f"{folder} is there twice: name each run once")
  is_compared = output.resolve() in resolved
  is_run = (output / "config.json").exists()
  if is_run or (is_compared and (output / summaries.FILE).exists()):
    raise UserError(
      f"{output} holds a run, whose files would be overwritten: choose another "
      "folder with --output"
    )


def _read(folders: Sequence[pathlib.Path]) -> list[FinishedRun]:
  """The runs, with names that differ and that tell the demo from the rest."""
  read: dict[pathlib.Path, Summary] = {}
  reasons = []
  for folder in folders:
    try:
      read[folder] = summaries.read(folder)
    except UserError as error:
      reasons.append(error)
  if not read:
    others = f"; {len(reasons) - 1} more likewise" if reasons[1:] else ""
    raise UserError(f"{reasons[0]}{others}")
  for reason in reasons:
    _LOG.warning("left out: %s", reason)
  names = [folder.resolve().name for folder in read]
  if len(set(names)) < len(names):
    names = list(map(str, read))
  if not all(summary.demo for summary in read.values()):
    names = [
      f"{name} [{DEMO}]" if summary.demo else name
      for name, summary in zip(names, read.values(), strict=True)
    ]
  return list(map(FinishedRun, names, read.values(), map(_history, read)))


def _history(folder: pathlib.Path) -> dict[str, np.ndarray]:
  path = folder / summaries.HISTORY
  try:
    arrays = summaries.read_arrays(path) if path.exists() else {}
    if any(a.ndim < 2 or a.dtype.kind not in "biuf" for a in arrays.values()):
      raise ValueError("arrays that are no curves of runs")
    return arrays
  except (OSError, ValueError) as error:
    _LOG.warning("%s is damaged (%s): its curves are left out", path, error)
    return {}


def _shared_metrics(runs: Sequence[FinishedRun]) -> list[str]:
  """What all runs have, in the order of the first."""
  metrics = [run.summary.metrics for run in runs]
  shared = [m for m in metrics[0] if all(m in others for others in metrics)]
  if not shared:
    have = [f"{run.name} has {', '.join(run.summary.metrics)}" for run in runs]
    raise UserError(
      f"there is no metric that all of these runs have: {'; '.join(have)}"
    )
  return shared


def _results(runs: Sequence[FinishedRun]) -> str:
  """One row for each system of each run; rows of one setting together."""
  metrics = dict.fromkeys(m for run in runs for m in run.summary.metrics)
  body = []
  for run in runs:
    for row in run.summary.rows:
      label, count = run.summary.label(row.system), str(_num_trainings(row))
      cells = [_cell(row.metrics.get(metric)) for metric in metrics]
      body.append([row.setting, label, run.name, count, *cells])
  settings = list(dict.fromkeys(setting for setting, *_ in body))
  body.sort(key=lambda cells: settings.index(cells[0]))
  titles = [f"{markdown.title(metric)} (%)" for metric in metrics]
  header = ["Setting", "System", "Run", "Trainings", *titles]
  return (
    f"{markdown.table([header, *body], num_names=3)}\n\nMean ± standard "
    "deviation over the trainings of a run, and the 95 % interval of the mean; "
    "without ±, a single training."
  )


def _num_trainings(row: Row) -> int:
  return max(len(value.runs) for value in row.metrics.values())


def _cell(value: Estimate | None) -> str:
  interval = value and value.ci95
  end = f" ({markdown.interval(interval)})" if interval else ""
  return f"{tables.estimate(value)}{end}"


def _differences(
  runs: Sequence[FinishedRun], metrics: Sequence[str]
) -> Iterator[str]:
  """Paragraphs on the differences between runs, where there are several."""
  if len(runs) > 1:
    yield "## Differences between runs"
  differences = []
  for a, b in itertools.combinations(runs, 2):
    found = between(a, b, metrics)
    differences += found
    if not found:
      yield (
        f"{a.name} and {b.name} are not tested: there is no setting in which "
        "both have a system of two trainings or more."
      )
  if differences:
    yield tables.comparisons_tables(differences, label=str)


def _pairs(
  rows_a: Sequence[Row], rows_b: Sequence[Row], metrics: Sequence[str]
) -> Iterator[tuple[Row, Row]]:
  """What is tested: rows of two trainings or more that have the metrics."""
  pairs = [
    (a, b)
    for a, b in itertools.product(rows_a, rows_b)
    if a.setting == b.setting
    and min(_num_trainings(a), _num_trainings(b)) > 1
    and set(metrics) <= a.metrics.keys() & b.metrics.keys()
  ]
  for setting in dict.fromkeys(a.setting for a, _ in pairs):
    here = [pair for pair in pairs if pair[0].setting == setting]
    namesakes = [(a, b) for a, b in here if a.system == b.system]
    yield from namesakes or here


def _curves(runs: Sequence[FinishedRun]) -> tuple[figures.Curves, list[str]]:
  """The learning curves that there are, and which runs have none."""
  curves: dict[str, dict[str, np.ndarray]] = {}
  notes = []
  for run in runs:
    found = figures.curves(run.summary, run.history)
    for setting, panel in found.items():
      title = f"{setting}\n{run.summary.curve.replace('_', ' ')}"
      for label, values_RxE in panel.items():
        name = label if len(runs) == 1 else f"{label} ({run.name})"
        curves.setdefault(title, {})[name] = values_RxE
    if not found:
      notes.append(
        f"{run.name} has no curves: its history.npz is missing, or holds none."
      )
  return curves, notes
