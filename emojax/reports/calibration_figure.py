"""Reliability diagrams: how often a classifier is right when it is so sure."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from emojax import calibration
from emojax.reports import style

_BAR = {"facecolor": style.BLUE}
_GAP = {"fc": "none", "ec": style.ORANGE, "hatch": "////", "lw": 0.6}
_EDGE = {"edgecolor": "white", "linewidth": 0.5}
_FEW = 10  # Clips of a bin that say little on its accuracy.
_FAINT = 0.2


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
    Line2D([], [], label="calibrated", **style.REFERENCE),
  ]
  style.add_legend(figure, handles)
  style.save(figure, path, title)
