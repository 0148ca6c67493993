"""What the reports of all studies share: figures over runs, and the page.

Here and in the reports of each study, what draws or fits is imported in the
function that does: training begins seconds sooner.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from emojax import markdown
from emojax.reports import tables
from emojax.summary import Summary

Write = Callable[[pathlib.Path], None]


@dataclasses.dataclass(frozen=True)
class Shown:
  """A file of the study, by who writes it; the report shows it by a caption."""

  file: str
  write: Write
  caption: str = ""


def title(summary: Summary) -> str:
  """What stands above the figures."""
  return f"{summary.title}, {tables.DEMO}" if summary.demo else summary.title


def over_runs(
  summary: Summary,
  history: Mapping[str, np.ndarray],
  confusions: Mapping[str, Mapping[str, np.ndarray]],
  metric: str,
  part: str,
) -> Iterator[Shown]:
  """Learning curves (on `part` of the data), results and confusions.

  `confusions` are `{setting: {label of a system: [C, C]}}`, counts on the test
  part over all runs; `history` is that of `Summary.curve`.
  """
  from emojax.reports import figures

  name, above = markdown.title(metric), title(summary)
  curves = figures.curves(summary, history)
  yield Shown(
    "learning_curves.png",
    lambda path: figures.learning_curves(
      *(path, curves, f"{metric.replace('_', ' ')} (%)", above, summary.unit)
    ),
    f"{name} on {part} while training: mean and 95 % band over initialisations",
  )
  yield Shown(
    "comparison.png",
    lambda path: figures.comparison(path, {"": summary}, metric, above),
    f"{name} on the test part, {summary.selection}: mean and 95 % interval",
  )
  for number, (setting, matrices) in enumerate(confusions.items(), start=1):
    yield Shown(
      f"confusions_{number}.png",
      lambda path, setting=setting, matrices=matrices: (
        figures.confusion_matrices(
          path, matrices, summary.classes, f"{above}: {setting}"
        )
      ),
      f"Confusions on the test part, {setting}, {summary.selection}: all "
      "initialisations",
    )


def files(
  summary: Summary,
  shown: Iterable[Shown],
  published: tables.Published,
  notes: Sequence[str],
) -> dict[str, Write]:
  """Writers of what is shown and of `report.md`, by file name."""
  shown = list(shown)
  captions = {one.caption: one.file for one in shown if one.caption}
  text = tables.report(summary, captions, published, notes)
  return {
    **{one.file: one.write for one in shown},
    "report.md": lambda path: path.write_text(text, encoding="utf-8"),
  }
