"""Finished runs side by side: a table, tests between them, and figures."""

import dataclasses
import itertools
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
_TITLE = "Comparison of runs"
_FAVOURITE = "unweighted_accuracy"  # Is drawn where all runs have it.


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """A run as it is compared.

  Attributes:
    name: to tell it from others.
    summary: of the run.
    history: arrays of its `history.npz`; empty where there is none.
  """

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

  Args:
    folders: of runs, at least one.
    output: folder to write to; made if missing.

  Returns:
    Markdown to print.

  Raises:
    UserError: a folder holds no finished run, or is there twice; the runs have
      no metric in common; `output` is one of them or can not be written.
  """
  folders, output = [pathlib.Path(f) for f in folders], pathlib.Path(output)
  _check(folders, output)
  runs = _named(folders, [_read(folder) for folder in folders])
  shared = _shared_metrics(runs)
  curves, notes = _curves(runs)
  is_demo = all(run.summary.demo for run in runs)
  sections = [f"# {_TITLE}", _results(runs), _selection(runs)]
  sections += [*_differences(runs, shared), *notes]
  if is_demo:
    sections.insert(0, f"**{DEMO}**")
  metric = _FAVOURITE if _FAVOURITE in shared else shared[0]
  title = f"{_TITLE}, {DEMO}" if is_demo else _TITLE
  drawn = ["comparison.png"]
  with files.whole(output / drawn[0]) as path:
    shown = {run.name: run.summary for run in runs}
    figures.comparison(str(path), shown, metric, title)
  if curves:
    drawn.append("learning_curves.png")
    with files.whole(output / drawn[1]) as path:
      figures.learning_curves(str(path), curves, "%", title)
  images = [f"![{caption}]({caption})" for caption in drawn]
  with files.whole(output / "comparison.md") as path:
    text = "\n\n".join([*sections, *images])
    path.write_text(text + "\n", encoding="utf-8")
  names = ", ".join(["comparison.md", *drawn])
  return "\n\n".join([*sections, f"Written to {output}: {names}"])


def between(
  a: FinishedRun, b: FinishedRun, metrics: Sequence[str]
) -> list[Comparison]:
  """Every test between two runs, of every one of the metrics.

  Within a setting of both, systems of one id are compared, or all systems where
  no id is in both. A system of one training has no spread and is left out.
  Trainings are paired where the test examples are known to be the same
  (`test_digest` in the summaries) and both systems have as many trainings.

  Returns:
    Comparisons of `FinishedRun.label`s.
  """
  digest = a.summary.test_digest
  same_examples = digest != "" and digest == b.summary.test_digest
  return [
    Comparison(
      row_a.setting,
      a.label(row_a.system),
      b.label(row_b.system),
      metric,
      *_test(row_a.metrics[metric], row_b.metrics[metric], same_examples),
    )
    for row_a, row_b in _pairs(a.summary.rows, b.summary.rows, metrics)
    for metric in metrics
  ]


def _check(folders: Sequence[pathlib.Path], output: pathlib.Path) -> None:
  if not folders:
    raise UserError("no run to report: name one folder of a run or more")
  resolved = [folder.resolve() for folder in folders]
  for index, folder in enumerate(folders):
    if resolved[index] in resolved[:index]:
      raise UserError(f"{folder} is there twice: name each run once")
  if output.resolve() in resolved:
    raise UserError(
      f"{output} is one of the runs, and its files would be overwritten: "
      "choose another folder with --output"
    )


def _read(folder: pathlib.Path) -> FinishedRun:
  """A run; its name is that of the folder."""
  summary = summaries.read(folder)
  path = folder / summaries.HISTORY
  try:
    history = summaries.read_arrays(path) if path.exists() else {}
  except (OSError, ValueError) as error:
    raise UserError(f"{path} is damaged ({error}): remove it") from error
  return FinishedRun(folder.resolve().name, summary, history)


def _named(
  folders: Sequence[pathlib.Path], runs: Sequence[FinishedRun]
) -> list[FinishedRun]:
  """The runs, with names that differ and that tell the demo from the rest."""
  names = [run.name for run in runs]
  if len(set(names)) < len(names):
    names = [str(folder) for folder in folders]
  if not all(run.summary.demo for run in runs):
    names = [
      f"{name} [{DEMO}]" if run.summary.demo else name
      for name, run in zip(names, runs, strict=True)
    ]
  return [
    dataclasses.replace(run, name=name)
    for run, name in zip(runs, names, strict=True)
  ]


def _shared_metrics(runs: Sequence[FinishedRun]) -> list[str]:
  """What all runs have, in the order of the first."""
  metrics = [run.summary.metrics for run in runs]
  shared = [m for m in metrics[0] if all(m in others for others in metrics)]
  if not shared:
    raise UserError(
      "there is no metric that all of these runs have: "
      + "; ".join(
        f"{run.name} has {', '.join(run.summary.metrics)}" for run in runs
      )
    )
  return shared


def _results(runs: Sequence[FinishedRun]) -> str:
  """One row for each system of each run; rows of one setting together."""
  metrics = dict.fromkeys(m for run in runs for m in run.summary.metrics)
  body = [
    [
      row.setting,
      run.summary.label(row.system),
      run.name,
      str(_num_trainings(row)),
      *(_cell(row.metrics.get(metric)) for metric in metrics),
    ]
    for run in runs
    for row in run.summary.rows
  ]
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
  text = markdown.estimate(value)
  if value is None or value.ci95 is None:
    return text
  return f"{text} ({markdown.interval(value.ci95)})"


def _selection(runs: Sequence[FinishedRun]) -> str:
  """From which epoch the figures are, run by run."""
  names: dict[str, list[str]] = {}
  for run in runs:
    names.setdefault(run.summary.selection, []).append(run.name)
  return " ".join(
    f"Measured {selection}: {', '.join(of)}." for selection, of in names.items()
  )


def _differences(
  runs: Sequence[FinishedRun], metrics: Sequence[str]
) -> Iterator[str]:
  """Paragraphs on the differences between runs, where there are several."""
  if len(runs) < 2:
    return
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
  rows_a, rows_b = (
    [
      row
      for row in rows
      if _num_trainings(row) > 1 and all(m in row.metrics for m in metrics)
    ]
    for rows in (rows_a, rows_b)
  )
  for setting in dict.fromkeys(row.setting for row in rows_a):
    pairs = [
      (a, b)
      for a, b in itertools.product(rows_a, rows_b)
      if a.setting == b.setting == setting
    ]
    namesakes = [(a, b) for a, b in pairs if a.system == b.system]
    yield from namesakes or pairs


def _test(a: Estimate, b: Estimate, same_examples: bool) -> tuple:
  """Difference, its interval, p-value and the name of the test."""
  if same_examples and len(a.runs) == len(b.runs):
    return (*statistics.paired_difference(a.runs, b.runs), PAIRED)
  return (*statistics.welch(a.runs, b.runs), WELCH)


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
