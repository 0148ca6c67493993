"""A study's figures, drawn without pyplot and its global state.

`path` is that of the image, and its suffix the format; `title` is the figure's.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from emojax import calibration
from emojax.reports import style
from emojax.statistics import t_half_width
from emojax.summary import Summary, history_name

_RUN = {"ls": "", "marker": "o", "markersize": 3, "mew": 0, "alpha": 0.3}
_MEAN = {"marker": "o", "markersize": 4, "linewidth": 2}
_BAR = {"facecolor": style.BLUE}
_GAP = {"fc": "none", "ec": style.ORANGE, "hatch": "////", "lw": 0.6}
_EDGE = {"edgecolor": "white", "linewidth": 0.5}
_FEW = 10  # Clips of a bin that say little on its accuracy.
_FAINT = 0.2

# Percent [runs, epochs] by setting and label.
Curves = Mapping[str, Mapping[str, np.ndarray]]


def curves(summary: Summary, history: Mapping[str, np.ndarray]) -> Curves:
  """What `learning_curves` draws: `summary.curve` out of `history.npz`."""
  found: dict[str, dict[str, np.ndarray]] = {}
  for row in summary.rows:
    name = history_name(row.setting, row.system, summary.curve)
    if name in history:
      label = summary.label(row.system)
      found.setdefault(row.setting, {})[label] = 100 * history[name]
  return found


@matplotlib.rc_context(style.STYLE)
def learning_curves(
  path: str, curves: Curves, ylabel: str, title: str, unit: str
) -> None:
  """Mean over runs and the 95 % t interval of the mean, one panel a setting.

  Readable with up to six systems; `ylabel` has the unit of the curves, and
  `unit` is what a round of training is called.
  """
  figure, axes = style.panels(len(curves), 3.0, 2.4)
  systems = dict.fromkeys(name for panel in curves.values() for name in panel)
  styles = {system: style.line_style(i) for i, system in enumerate(systems)}
  extremes = []
  for ax, (setting, panel) in zip(axes, curves.items(), strict=True):
    ax.set_title(setting)
    for system, values_RxE in panel.items():
      style.mean_curve(ax, values_RxE, t_half_width, styles[system])
      # The steep first epochs would take up the whole height; and so would the
      # interval of two runs.
      shown = values_RxE[:, values_RxE.shape[1] // 10 :]
      extremes += [shown.min(), shown.max()]
  margin = 0.05 * (max(extremes) - min(extremes)) or 1.0
  axes[0].set_ylim(min(extremes) - margin, max(extremes) + margin)
  figure.supxlabel(unit)
  figure.supylabel(ylabel)
  style.add_legend(figure, style.handles(styles))
  style.save(figure, path, title)


@matplotlib.rc_context(style.BARE)
def confusion_matrices(
  path: str,
  matrices: Mapping[str, np.ndarray],
  classes: Sequence[str],
  title: str,
) -> None:
  """Percent of each true class, and the counts below in small print.

  `matrices` are `{system: [C, C]}` counts, true classes in rows.
  """
  size = 0.9 + 0.48 * len(classes)
  figure, axes = style.panels(len(matrices), size, size)
  figure.set_layout_engine("compressed")
  for ax, (system, counts_CxC) in zip(axes, matrices.items(), strict=True):
    percent_CxC = style.percent_of_truth(counts_CxC)
    image = style.confusion_axes(ax, classes)
    image.set_data(percent_CxC)
    for (row, column), percent in np.ndenumerate(percent_CxC):
      place = {"ha": "center", "color": "white" if percent > 60 else "black"}
      ax.text(column, row + 0.05, f"{percent:.0f}", va="bottom", **place)
      count = f"{counts_CxC[row, column]:.0f}"
      ax.text(column, row + 0.1, count, va="top", fontsize=6, **place)
    ax.set_title(system)
  figure.supxlabel("predicted")
  figure.supylabel("true")
  bar = figure.colorbar(image, ax=axes, label="share of the true class (%)")
  bar.outline.set_visible(False)
  style.save(figure, path, title)


@matplotlib.rc_context(style.BARE)
def projections(
  path: str,
  points: Mapping[str, np.ndarray],
  speakers_N: Sequence[str],
  emotions_N: Sequence[str],
  title: str,
) -> None:
  """Points in the plane, coloured by speaker above and by emotion below.

  Up to 24 names are told apart by colour and marker; of more, the rarest are
  grey. `points` are `{system: [N, 2]}`; an empty emotion is unlabelled.
  """
  figure = style.new_figure(2.6 * len(points) + 1.5, 5.4)
  grid = figure.subplots(2, len(points), squeeze=False)
  labelled_N = [name or "unlabelled" for name in emotions_N]
  rows = (("speaker", speakers_N), ("emotion", labelled_N))
  for axes, (kind, names_N) in zip(grid, rows, strict=True):
    styles = style.category_styles(np.asarray(names_N))
    for ax, (system, points_Nx2) in zip(axes, points.items(), strict=True):
      _scatter(ax, points_Nx2, [styles.get(n, style.OTHERS) for n in names_N])
      ax.set_title(system if kind == "speaker" else "")
    num_others = len(set(names_N)) - len(styles)
    if num_others:
      styles[f"{num_others} others"] = style.OTHERS
    dot = {"linestyle": "", "markersize": 4}
    axes[-1].legend(
      handles=style.handles({name: dot | of for name, of in styles.items()}),
      title=kind,
      loc="center left",
      bbox_to_anchor=(1.0, 0.5),
      ncols=1 + (len(styles) > 12),
      fontsize=7.5,
      title_fontsize=9,
      handletextpad=0.1,
      columnspacing=0.8,
    )
  style.save(figure, path, title)


@matplotlib.rc_context({**style.STYLE, "axes.grid.axis": "x"})
def comparison(
  path: str, summaries: Mapping[str, Summary], metric: str, title: str
) -> None:
  """Means with their 95 % intervals, and single runs as faint dots.

  One panel a setting; rows without the metric are left out. Of one study, a
  colour is a system; of several, a colour is a study (named by the keys), and
  systems of one label are next to each other.
  """
  panels: dict[str, dict[str, list]] = {}
  for number, summary in enumerate(summaries.values()):
    ids = [system.id for system in summary.systems]
    for row in summary.rows:
      if metric in row.metrics:
        index = number if len(summaries) > 1 else ids.index(row.system)
        panel = panels.setdefault(row.setting, {})
        values = panel.setdefault(summary.label(row.system), [])
        values.append((row.metrics[metric], style.line_style(index)["color"]))
  heights = [sum(map(len, panel.values())) for panel in panels.values()]
  height = 0.28 * sum(heights) + 0.4 * len(panels) + 0.7
  figure = style.new_figure(6.0, height)
  grid = figure.subplots(
    len(panels), 1, sharex=True, squeeze=False, height_ratios=heights
  )
  for ax, (setting, panel) in zip(grid[:, 0], panels.items(), strict=True):
    lines = [(label, *value) for label, of in panel.items() for value in of]
    for place, (_, value, colour) in enumerate(lines):
      if len(value.runs) > 1:
        runs = 100 * np.asarray(value.runs)
        ax.plot(runs, np.full(len(runs), place), color=colour, **_RUN)
      if value.ci95 is not None:
        ends = 100 * np.asarray(value.ci95)
        ax.plot(ends, [place, place], color=colour, linewidth=2)
      ax.plot(100 * value.mean, place, "o", color=colour, markersize=4)
    ax.set_title(setting)
    ax.set_yticks(range(len(lines)), [label for label, *_ in lines])
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines.left.set_visible(False)
  figure.supxlabel(f"{metric.replace('_', ' ')} (%)")
  means = {"mean, 95 % interval": style.QUIET}
  if len(summaries) > 1:
    means = {n: style.line_style(i)["color"] for i, n in enumerate(summaries)}
  looks = {label: {"color": colour} | _MEAN for label, colour in means.items()}
  looks["single runs"] = {"color": style.QUIET} | _RUN
  style.add_legend(figure, style.handles(looks))
  style.save(figure, path, title)


@matplotlib.rc_context(style.STYLE)
def reliability_diagram(
  path: str,
  probabilities: Mapping[str, np.ndarray],
  labels_N: np.ndarray,
  title: str,
  num_bins: int = 15,
) -> None:
  """Accuracy over confidence, and beneath it how many clips were so sure.

  As Guo et al. 2017, Fig. 4: the gap is drawn from each bin's accuracy to its
  mean confidence. The expected calibration error stands above each panel. Bins
  of fewer than ten clips are faint. `probabilities` are `{caption: [N, C]}`,
  such as those before and after temperature scaling, of the same N clips.
  """
  num_panels = len(probabilities)
  figure = style.new_figure(3.0 * num_panels + 0.4, 4.0)
  shape = {"squeeze": False, "height_ratios": (3, 1)}
  grid = figure.subplots(2, num_panels, sharex=True, sharey="row", **shape)
  panels = zip(grid.T, probabilities.items(), strict=True)
  for (diagram, histogram), (caption, probabilities_NxC) in panels:
    bins = calibration.reliability(probabilities_NxC, labels_N, num_bins)
    error = 100 * calibration.expected_calibration_error(bins)
    diagram.set_title(f"{caption}\nexpected calibration error {error:.1f} %")
    left_M, width = np.linspace(0, 100, num_bins + 1, retstep=True)
    place = {"x": left_M[:-1], "width": width, "align": "edge"}
    accuracy_M = 100 * np.nan_to_num(bins.accuracy)
    gap_M = 100 * np.nan_to_num(bins.confidence) - accuracy_M
    bars = [
      *diagram.bar(height=accuracy_M, **place, **_EDGE, **_BAR),
      *diagram.bar(height=gap_M, bottom=accuracy_M, **place, **_GAP),
    ]
    for bar, count in zip(bars, [*bins.count, *bins.count], strict=True):
      bar.set_alpha(_FAINT if count < _FEW else 0.8)
    diagram.plot([0, 100], [0, 100], **style.REFERENCE)
    diagram.set(xlim=(0, 100), ylim=(0, 100), xticks=range(0, 101, 20))
    look = {"facecolor": style.QUIET, **_EDGE}
    histogram.bar(height=bins.count, **place, **look)
  grid[0, 0].set_ylabel("accuracy (%)")
  grid[1, 0].set_ylabel("clips")
  figure.supxlabel("confidence (%)")
  handles = [
    Patch(label="accuracy", **_BAR),
    Patch(label="gap to the confidence", **_GAP),
    Patch(label=f"fewer than {_FEW} clips", alpha=_FAINT, **_BAR),
    *style.handles({"calibrated": style.REFERENCE}),
  ]
  style.add_legend(figure, handles)
  style.save(figure, path, title)


@matplotlib.rc_context(style.STYLE)
def coverage(
  path: str,
  probabilities_NxC: np.ndarray,
  labels_N: np.ndarray,
  threshold: float,
  title: str,
) -> None:
  """Accuracy of the clips that are kept, over their share of all clips.

  From the surest alone to all of them; where the threshold keeps any, that
  point is marked, with its numbers in the legend.
  """
  shares_K, accuracy_K = calibration.coverage_curve(probabilities_NxC, labels_N)
  at = calibration.accuracy_of_kept(probabilities_NxC, labels_N, threshold)
  looks = {"kept by confidence": {"color": style.BLUE, "linewidth": 1.3}}
  figure = style.new_figure(3.6, 2.8)
  ax = figure.subplots()
  ax.plot(100 * shares_K, 100 * accuracy_K, **looks["kept by confidence"])
  if at[0]:
    name = (
      f"threshold {threshold:.2f}: {100 * at[1]:.1f} % of {100 * at[0]:.0f} %"
    )
    looks[name] = {"color": style.ORANGE} | _MEAN | {"ls": "", "markersize": 7}
    ax.plot(100 * at[0], 100 * at[1], **looks[name])
  everything = f"all clips: {100 * accuracy_K[-1]:.1f} %"
  looks[everything] = style.REFERENCE
  ax.axhline(100 * accuracy_K[-1], **style.REFERENCE)
  ax.set(xlim=(0, 101), ylim=(0, 101))
  ax.set_xlabel("coverage: clips that are kept (%)")
  ax.set_ylabel("accuracy of these (%)")
  style.add_legend(figure, style.handles(looks))
  style.save(figure, path, title)


def _scatter(ax: Axes, points_Nx2: np.ndarray, style_N: Sequence[Mapping]):
  colour_N = np.asarray([one["color"] for one in style_N])
  marker_N = np.asarray([one["marker"] for one in style_N])
  # One call for all colours of a marker: no name is drawn over the others.
  for marker in np.unique(marker_N):
    x, y = points_Nx2[marker_N == marker].T
    colours = colour_N[marker_N == marker]
    ax.scatter(x, y, 9, colours, marker=marker, alpha=0.8, linewidths=0)
  ax.set(xticks=[], yticks=[])
  ax.spines[:].set_visible(True)
