"""Finished runs side by side: a table, tests between them, and figures."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from emojax.errors import UserError
from emojax.reports import (
  figures,
  finished_run,
  markdown,
  run_curves,
  significance,
)
from emojax.reports.comparison_figure import compared_runs
from emojax.reports.finished_run import FinishedRun
from emojax.reports.tables import DEMO
from emojax.runtime import files

_TITLE = "Comparison of runs"

# Percent [trainings, rounds] by panel (a setting's part) and label.
Curves = Mapping[str, Mapping[str, np.ndarray]]


def compare(
  folders: Sequence[str | pathlib.Path], output: str | pathlib.Path
) -> str:
  """Compares runs, and writes `comparison.md` and its figures.

  Each row of each run is in the table; `significance.between` says which are
  tested against each other and how, `run_curves` which arrays of
  `history.npz` are drawn.

  Args:
    folders: of runs, at least one.
    output: folder to write to; made if missing.

  Returns:
    Markdown to print.

  Raises:
    UserError: a folder holds no finished run, or is there twice, or `output`
      is one of them or can not be written.
  """
  folders, output = [pathlib.Path(f) for f in folders], pathlib.Path(output)
  _check(folders, output)
  runs = _named(folders, [finished_run.read(folder) for folder in folders])
  curves, notes = _curves(runs)
  sections = [f"# {_TITLE}", _results(runs), _selection(runs)]
  sections += [*_differences(runs), *notes]
  if _all_demo(runs):
    sections.insert(0, f"**{DEMO}**")
  drawn = _figures(runs, curves)
  for name, draw in drawn.items():
    with files.whole(output / name) as path:
      draw(str(path))
  images = [f"![{caption}]({caption})" for caption in drawn]
  with files.whole(output / "comparison.md") as path:
    path.write_text("\n\n".join([*sections, *images]) + "\n")
  names = ", ".join(["comparison.md", *drawn])
  return "\n\n".join([*sections, f"Written to {output}: {names}"])


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


def _named(
  folders: Sequence[pathlib.Path], runs: Sequence[FinishedRun]
) -> list[FinishedRun]:
  """The runs, with names that differ and that tell the demo from the rest."""
  names = [run.name for run in runs]
  if len(set(names)) < len(names):
    names = [str(folder) for folder in folders]
  if not _all_demo(runs):
    names = [
      f"{name} [{DEMO}]" if run.summary["demo"] else name
      for name, run in zip(names, runs, strict=True)
    ]
  return [
    dataclasses.replace(run, name=name)
    for run, name in zip(runs, names, strict=True)
  ]


def _all_demo(runs: Sequence[FinishedRun]) -> bool:
  return all(run.summary["demo"] for run in runs)


def _results(runs: Sequence[FinishedRun]) -> str:
  """One row for each system of each run; rows of one setting together."""
  metrics = list(
    dict.fromkeys(m for run in runs for m in run.summary["metrics"])
  )
  titles = [f"{markdown.title(metric)} (%)" for metric in metrics]
  body = [
    [
      row["setting"],
      row["system"],
      run.name,
      str(len(row[run_curves.METRIC]["runs"])),
      *(_cell(row.get(metric)) for metric in metrics),
    ]
    for run in runs
    for row in run.summary["rows"]
  ]
  settings = list(dict.fromkeys(setting for setting, *_ in body))
  body.sort(key=lambda cells: settings.index(cells[0]))
  header = ["Setting", "System", "Run", "Trainings", *titles]
  return (
    f"{markdown.table([header, *body], num_names=3)}\n\nMean ± standard "
    "deviation over the trainings of a run, and the 95 % interval of the mean; "
    "without ±, a single training."
  )


def _selection(runs: Sequence[FinishedRun]) -> str:
  """From which epoch the figures are, run by run."""
  names = {}
  for run in runs:
    selection = run.summary.get("selection", "at the last epoch")
    names.setdefault(selection, []).append(run.name)
  return " ".join(
    f"Measured {selection}: {', '.join(of)}." for selection, of in names.items()
  )


def _cell(value: Mapping[str, Any] | None) -> str:
  if value is None:
    return markdown.NOTHING
  mean = f"{100 * value['mean']:.1f}"
  if len(value["runs"]) < 2:
    return mean
  interval = markdown.interval(value["ci95"])
  return f"{mean} ± {100 * value['std']:.1f} ({interval})"


def _differences(runs: Sequence[FinishedRun]) -> Iterator[str]:
  """Paragraphs on the differences between runs, where there are several."""
  if len(runs) < 2:
    return
  yield "## Differences between runs"
  differences = []
  for a, b in itertools.combinations(runs, 2):
    found = significance.between(a, b)
    differences += found
    if not found:
      yield (
        f"{a.name} and {b.name} are not tested: there is no setting in which "
        "both have a system of two trainings or more."
      )
  if differences:
    yield significance.table(differences)


def _curves(runs: Sequence[FinishedRun]) -> tuple[Curves, list[str]]:
  """The curves that there are, and which runs have none."""
  curves, notes = {}, []
  for run in runs:
    found, part = run_curves.of_validation(run), "validation"
    if not found:
      found, part = run_curves.of_test(run), "test speakers"
    if not found:
      notes.append(
        f"{run.name} has no curves: its history.npz is missing, or holds none."
      )
    for row in run.summary["rows"]:
      setting, system = row["setting"], row["system"]
      if (setting, system) in found:
        panel = curves.setdefault(f"{setting}: {part}", {})
        panel[_label(runs, run, system)] = 100 * found[setting, system]
  return curves, notes


def _figures(
  runs: Sequence[FinishedRun], curves: Curves
) -> dict[str, Callable[[str], None]]:
  """Functions that draw to a path, by file name."""
  title = f"{_TITLE}, {DEMO}" if _all_demo(runs) else _TITLE
  drawn = {
    "comparison.png": functools.partial(
      compared_runs, runs=runs, metric=run_curves.METRIC, title=title
    )
  }
  if curves:
    drawn["learning_curves.png"] = functools.partial(
      figures.learning_curves,
      curves=curves,
      ylabel="unweighted accuracy (%)",
      title=title,
    )
  return drawn


def _label(runs: Sequence[FinishedRun], run: FinishedRun, system: str) -> str:
  return system if len(runs) == 1 else f"{system} ({run.name})"
