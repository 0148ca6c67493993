"""Reliability diagrams: how often a classifier is right when it is so sure."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emojax import calibration
from emojax.reports import style

_BAR = {"facecolor": "#0072B2"}
_GAP = {
  "facecolor": "none",
  "edgecolor": "#D55E00",
  "hatch": "////",
  "linewidth": 0.6,
}
_FEW = 10  # Clips of a bin that say little on its accuracy.
_FAINT = 0.2
_DIAGONAL = {"color": style.QUIET, "linewidth": 1.0, "linestyle": ":"}


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
  of fewer than ten clips are faint.

  Args:
    path: of the image; its suffix is the format.
    probabilities: `{caption: [N, C]}`, such as those before and those after
      temperature scaling, of the same N clips.
    labels_N: their classes.
    title: of the figure.
    num_bins: of confidence, of equal width.
  """
  num_panels = len(probabilities)
  figure = style.new_figure(3.0 * num_panels + 0.4, 4.0)
  grid = figure.subplots(
    2,
    num_panels,
    sharex=True,
    sharey="row",
    squeeze=False,
    height_ratios=(3, 1),
  )
  for (diagram, histogram), (caption, probabilities_NxC) in zip(
    grid.T, probabilities.items(), strict=True
  ):
    bins = calibration.reliability(probabilities_NxC, labels_N, num_bins)
    error = 100 * calibration.expected_calibration_error(bins)
    diagram.set_title(f"{caption}\nexpected calibration error {error:.1f} %")
    _draw(diagram, histogram, bins)
  grid[0, 0].set_ylabel("accuracy (%)")
  grid[1, 0].set_ylabel("clips")
  figure.supxlabel("confidence (%)")
  handles = [
    Patch(label="accuracy", **_BAR),
    Patch(label="gap to the confidence", **_GAP),
    Patch(label=f"fewer than {_FEW} clips", alpha=_FAINT, **_BAR),
    Line2D([], [], label="calibrated", **_DIAGONAL),
  ]
  style.add_legend(figure, handles)
  style.save(figure, path, title)


def _draw(
  diagram: Axes, histogram: Axes, bins: calibration.Reliability
) -> None:
  width = 100 / len(bins.count)
  left_M = width * np.arange(len(bins.count))
  place = {"width": width, "align": "edge"}
  accuracy_M = 100 * np.nan_to_num(bins.accuracy)
  gap_M = 100 * np.nan_to_num(bins.confidence) - accuracy_M
  edge = {"edgecolor": "white", "linewidth": 0.5}
  bars_of_both = (
    diagram.bar(left_M, accuracy_M, **place, **edge, **_BAR),
    diagram.bar(left_M, gap_M, bottom=accuracy_M, **place, **_GAP),
  )
  for bars in bars_of_both:
    for bar, count in zip(bars, bins.count, strict=True):
      bar.set_alpha(_FAINT if count < _FEW else 0.8)
  diagram.plot([0, 100], [0, 100], **_DIAGONAL)
  diagram.set(xlim=(0, 100), ylim=(0, 100), xticks=range(0, 101, 20))
  histogram.bar(left_M, bins.count, facecolor=style.QUIET, **place, **edge)
