"""The summary of the study, its report and its figures."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from emojax import summary as summaries
from emojax.data.clips import Clips
from emojax.reports import figures, tables
from emojax.reports import speech as reports
from emojax.runtime import files
from emojax.summary import System


def write(
  folder: pathlib.Path,
  title: str,
  data: Clips,
  labels: Mapping[str, str],
  found: Mapping[str, Mapping[str, Any]],
) -> None:
  """Writes `summary.json`, `report.md` and `comparison.png`.

  Args:
    folder: receives them.
    title: of the report.
    data: the clips.
    labels: of all rows, for people.
    found: of each row and each fold what `study.Chosen` is.
  """
  by_row = {
    (fold, name): of_fold.outcomes
    for name, folds in found.items()
    for fold, of_fold in folds.items()
  }
  systems = [System(name, labels[name]) for name in found]
  summary = reports.summary(title, data, systems, by_row)
  choices = {
    name: {
      fold: {"validation": one.scores, "chosen": dict(one.option)}
      for fold, one in folds.items()
    }
    for name, folds in found.items()
  }
  summary = dataclasses.replace(summary, details={"choices": choices})
  # The folds one by one are in the summary; the page is of all of them.
  last = summary.rows[-1].setting
  whole = dataclasses.replace(
    summary,
    rows=tuple(row for row in summary.rows if row.setting == last),
    comparisons=tuple(o for o in summary.comparisons if o.setting == last),
  )
  shown = {f"Unweighted accuracy, {last}": "comparison.png"}
  text = tables.report(whole, shown, {}, [])
  with files.whole(folder / "report.md") as path:
    path.write_text(text, encoding="utf-8")
  with files.whole(folder / "comparison.png") as path:
    figures.comparison(path, {"": whole}, "unweighted_accuracy", title)
  with files.whole(folder / summaries.FILE) as path:
    summaries.write(path, summary)
