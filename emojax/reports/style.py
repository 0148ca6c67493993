"""The look of all figures, and the frame that they are drawn in.

Colours are those of Okabe & Ito, "Color universal design" (2008), for systems,
and Tol's "muted" scheme (2021) for speakers and emotions: both are told apart
by colour-blind readers. Line styles and markers differ as well.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

BLUE, ORANGE = "#0072B2", "#D55E00"
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_CATEGORY_COLOURS = (
  *("#332288", "#CC6677", "#117733", "#88CCEE"),
  *("#882255", "#999933", "#44AA99", "#AA4499"),
)
_MARKERS = ("o", "^", "s")
_MAX_CATEGORIES = len(_CATEGORY_COLOURS) * len(_MARKERS)
OTHERS = {"color": "#BBBBBB", "marker": "."}
QUIET = "#555555"
REFERENCE = {"color": QUIET, "linewidth": 1.0, "linestyle": ":"}
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
# Of pictures: the same without lines through them.
BARE = {**STYLE, "axes.grid": False}


def new_figure(width: float, height: float) -> Figure:
  """A figure of that size in inches, known to no pyplot."""
  figure = Figure(figsize=(width, height), layout="constrained")
  FigureCanvasAgg(figure)
  return figure


def panels(count: int, width: float, height: float) -> tuple[Figure, list]:
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


def handles(looks: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
  """Of a legend: how each name is drawn."""
  return [Line2D([], [], label=name, **look) for name, look in looks.items()]


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
  turn, colour = divmod(index, len(_COLOURS))
  line = _LINE_STYLES[(index + turn) % len(_LINE_STYLES)]
  return {"color": _COLOURS[colour], "linestyle": line}


def mean_curve(
  ax: Axes, values_RxE: np.ndarray, spread: Callable, look: Mapping[str, Any]
) -> None:
  """Mean over runs, epoch by epoch, and a band of half width `spread` [E]."""
  mean_E = values_RxE.mean(axis=0)
  epochs = np.arange(1, len(mean_E) + 1)
  if len(values_RxE) > 1:
    half_E = spread(values_RxE)
    band = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
    ax.fill_between(epochs, mean_E - half_E, mean_E + half_E, **band)
  ax.plot(epochs, mean_E, linewidth=1.3, **look)
  ax.margins(x=0)
  ax.xaxis.get_major_locator().set_params(integer=True)


def confusion_axes(ax: Axes, classes: Sequence[str]) -> AxesImage:
  """An empty confusion matrix in percent, true classes in rows."""
  ticks = range(len(classes))
  slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
  ax.set_xticks(ticks, classes, **slanted)
  ax.set_yticks(ticks, classes)
  ax.tick_params(length=0)
  ax.spines[:].set_visible(False)
  empty = np.zeros((len(classes), len(classes)))
  return ax.imshow(empty, cmap="Blues", vmin=0, vmax=100)


def percent_of_truth(counts_CxC: np.ndarray) -> np.ndarray:
  """Percent of each true class, [C, C] from counts; 0 for an absent one."""
  support_Cx1 = counts_CxC.sum(axis=1, keepdims=True)
  return 100 * counts_CxC / np.maximum(support_Cx1, 1)


def category_styles(names_N: np.ndarray) -> dict[str, dict[str, str]]:
  """A marker's style for each name; colours first, then other markers."""
  names, counts = np.unique(names_N, return_counts=True)
  shown = np.sort(np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES])
  looks = itertools.product(_MARKERS, _CATEGORY_COLOURS)
  return {
    str(name): {"color": colour, "marker": marker}
    for name, (marker, colour) in zip(names[shown], looks, strict=False)
  }


def save(figure: Figure, path: str, title: str) -> None:
  """Writes the figure with its title; the suffix of `path` is the format."""
  figure.suptitle(title)
  figure.savefig(path)
