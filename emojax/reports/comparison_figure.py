"""Systems of several runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from emojax.reports import style
from emojax.reports.finished_run import FinishedRun

_SINGLE = {"marker": "o", "markersize": 3, "markeredgewidth": 0, "alpha": 0.35}
_INCHES_PER_ROW = 0.28


@matplotlib.rc_context({**style.STYLE, "axes.grid.axis": "x"})
def compared_runs(
  path: str, runs: Sequence[FinishedRun], metric: str, title: str
) -> None:
  """Means with their 95 % intervals, and single trainings as faint dots.

  One panel for each setting; systems of one name are next to each other, a
  colour is a run.

  Args:
    path: of the image; its suffix is the format.
    runs: at least one, with different names.
    metric: that all rows have.
    title: of the figure.
  """
  panels = {}
  for number, run in enumerate(runs):
    for row in run.summary["rows"]:
      panel = panels.setdefault(row["setting"], {})
      panel.setdefault(row["system"], []).append((number, row[metric]))
  heights = [sum(map(len, panel.values())) for panel in panels.values()]
  figure = style.new_figure(
    6.0, _INCHES_PER_ROW * sum(heights) + 0.4 * len(panels) + 0.7
  )
  grid = figure.subplots(
    len(panels), 1, sharex=True, squeeze=False, height_ratios=heights
  )
  for ax, (setting, panel) in zip(grid[:, 0], panels.items(), strict=True):
    ax.set_title(setting)
    names = [system for system, values in panel.items() for _ in values]
    ax.set_yticks(range(len(names)), names)
    values = [value for values in panel.values() for value in values]
    for index, (number, value) in enumerate(values):
      _draw(ax, index, value, style.line_style(number)["color"])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines.left.set_visible(False)
  figure.supxlabel(f"{metric.replace('_', ' ')} (%)")
  mean = {"marker": "o", "markersize": 4, "linewidth": 2}
  handles = [
    Line2D([], [], color=style.line_style(r)["color"], label=run.name, **mean)
    for r, run in enumerate(runs)
  ]
  single = Line2D(
    [], [], color=style.QUIET, linestyle="", label="single trainings", **_SINGLE
  )
  style.add_legend(figure, [*handles, single])
  style.save(figure, path, title)


def _draw(ax: Axes, index: int, value: Mapping[str, Any], colour: str) -> None:
  values_R = 100 * np.asarray(value["runs"])
  if value["ci95"] is not None:
    ax.plot(
      values_R, np.full(len(values_R), index), ls="", color=colour, **_SINGLE
    )
    ax.plot(100 * np.asarray(value["ci95"]), [index] * 2, color=colour, lw=2)
  ax.plot(100 * value["mean"], index, "o", color=colour, markersize=4)
