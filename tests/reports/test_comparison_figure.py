"""What the figure of several runs shows is read back from its lines."""

import numpy as np
from matplotlib import colors
from PIL import Image

from emojax.reports import style
from emojax.reports.comparison_figure import compared_runs
from emojax.reports.finished_run import FinishedRun


def row(setting: str, system: str, *runs: float) -> dict:
  ci95 = [min(runs), max(runs)] if len(runs) > 1 else None
  value = {"mean": float(np.mean(runs)), "ci95": ci95, "runs": list(runs)}
  return {"setting": setting, "system": system, "macro_f1": value}


def test_namesakes_of_several_runs_are_next_to_each_other(tmp_path, drawn):
  runs = [
    FinishedRun(name, {"rows": rows}, {})
    for name, rows in {
      "one": [row("s", "C1", 0.5, 0.6), row("s", "SVM", 0.4)],
      "two": [row("s", "C1", 0.7, 0.8), row("t", "C1", 0.1, 0.2)],
    }.items()
  ]
  path = tmp_path / "comparison.png"
  compared_runs(str(path), runs, "macro_f1", "A study")
  with Image.open(path) as image:
    assert image.width > 500
  (figure,) = drawn
  assert figure.get_suptitle() == "A study"
  assert figure.get_supxlabel() == "macro f1 (%)"
  first, second = figure.axes
  assert [ax.get_title() for ax in (first, second)] == ["s", "t"]
  names = [label.get_text() for label in first.get_yticklabels()]
  assert names == ["C1", "C1", "SVM"]
  means = [line for line in first.lines if len(line.get_xdata()) == 1]
  places = np.array([np.concatenate(line.get_data()) for line in means])
  np.testing.assert_allclose(places, [[55, 0], [75, 1], [40, 2]])
  ours, theirs = (style.line_style(r)["color"] for r in range(2))
  assert [line.get_color() for line in means] == [ours, theirs, ours]
  singles, interval = second.lines[:2]
  np.testing.assert_allclose(singles.get_xdata(), [10, 20])
  np.testing.assert_allclose(interval.get_xdata(), [10, 20])
  (legend,) = figure.legends
  texts = [text.get_text() for text in legend.get_texts()]
  assert texts == ["one", "two", "single trainings"]
  assert colors.same_color(legend.legend_handles[1].get_color(), theirs)
