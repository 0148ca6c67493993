"""The look of all figures, and the frame that they are drawn in.

Colours are those of Okabe & Ito, "Color universal design" (2008), for systems,
and Tol's "muted" scheme (2021) for speakers and emotions: both are told apart
by colour-blind readers. Line styles and markers differ as well.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_CATEGORY_COLOURS = (
  *("#332288", "#CC6677", "#117733", "#88CCEE"),
  *("#882255", "#999933", "#44AA99", "#AA4499"),
)
_MARKERS = ("o", "^", "s")
_MAX_CATEGORIES = len(_CATEGORY_COLOURS) * len(_MARKERS)
OTHERS = {"color": "#BBBBBB", "marker": "."}
QUIET = "#555555"
STYLE = {
  "font.size": 9,
  "axes.titlesize": 9,
  "axes.labelsize": 9,
  "axes.edgecolor": QUIET,
  "axes.linewidth": 0.6,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": "#E4E4E4",
  "grid.linewidth": 0.6,
  "xtick.color": QUIET,
  "ytick.color": QUIET,
  "xtick.labelcolor": "black",
  "ytick.labelcolor": "black",
  "xtick.major.width": 0.6,
  "ytick.major.width": 0.6,
  "legend.frameon": False,
  "figure.titlesize": 11,
  "figure.labelsize": 9,
  "savefig.dpi": 160,
  "savefig.bbox": "tight",
}


def new_figure(width: float, height: float) -> Figure:
  """A figure of that size in inches, known to no pyplot."""
  figure = Figure(figsize=(width, height), layout="constrained")
  FigureCanvasAgg(figure)
  return figure


def panels(
  count: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
  """`count` axes in rows of three, each of about that size in inches."""
  num_columns = min(count, 3)
  num_rows = -(-count // num_columns)
  figure = new_figure(width * num_columns + 0.4, height * num_rows + 0.6)
  grid = figure.subplots(
    num_rows, num_columns, sharex=True, sharey=True, squeeze=False
  )
  axes = list(grid.flat)
  for empty in axes[count:]:
    empty.set_axis_off()
  for lowest in axes[max(0, count - num_columns) : count]:
    lowest.tick_params(labelbottom=True)
  return figure, axes[:count]


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
  """Puts it where a cell has no panel, or else at the right of all."""
  last = figure.axes[-1]
  if not last.axison:
    last.legend(handles=handles, loc="center")
    return
  longest = max(len(str(handle.get_label())) for handle in handles)
  width, height = figure.get_size_inches()
  figure.set_size_inches(width + 0.6 + 0.07 * longest, height)
  figure.legend(handles=handles, loc="outside right center")


def line_style(index: int) -> dict[str, Any]:
  """Colour and line of a system; after six, colours come with other lines."""
  num_colours = len(_COLOURS)
  line = (index + index // num_colours) % len(_LINE_STYLES)
  return {
    "color": _COLOURS[index % num_colours],
    "linestyle": _LINE_STYLES[line],
  }


def category_styles(names_N: np.ndarray) -> dict[str, dict[str, str]]:
  """A marker's style for each name; colours first, then other markers."""
  names, counts = np.unique(names_N, return_counts=True)
  shown = np.sort(np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES])
  return {
    str(names[index]): {
      "color": _CATEGORY_COLOURS[place % len(_CATEGORY_COLOURS)],
      "marker": _MARKERS[place // len(_CATEGORY_COLOURS)],
    }
    for place, index in enumerate(shown)
  }


def save(figure: Figure, path: str, title: str) -> None:
  """Writes the figure with its title; the suffix of `path` is the format."""
  figure.suptitle(title)
  figure.savefig(path)
