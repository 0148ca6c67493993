"""What the figures of confidence show is read back from what was drawn."""

import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image
from scipy import special

from emojax import calibration
from emojax.reports import figures


def test_reliability_diagram(tmp_path, drawn):
  rng = np.random.default_rng(0)
  logits_NxC = rng.normal(0, 3, (200, 8))
  labels_N = rng.integers(8, size=200)
  panels = {
    "as trained": special.softmax(logits_NxC, axis=1),
    "temperature 3.00": special.softmax(logits_NxC / 3, axis=1),
  }
  path = tmp_path / "reliability.png"
  figures.reliability_diagram(
    str(path), panels, labels_N, "A study", num_bins=10
  )
  with Image.open(path) as image:
    assert image.width > 600
  (figure,) = drawn
  assert figure.get_suptitle() == "A study"
  before, after, *histograms = figure.axes
  for ax, histogram, (caption, probabilities_NxC) in zip(
    (before, after), histograms, panels.items(), strict=True
  ):
    bins = calibration.reliability(probabilities_NxC, labels_N, 10)
    error = calibration.expected_calibration_error(bins)
    assert ax.get_title() == (
      f"{caption}\nexpected calibration error {100 * error:.1f} %"
    )
    bars = [p for p in ax.patches if isinstance(p, Rectangle)]
    accuracies, gaps = bars[:10], bars[10:]
    filled = bins.count > 0
    tops = np.array([b.get_y() + b.get_height() for b in gaps])
    heights = np.array([b.get_height() for b in accuracies])
    np.testing.assert_allclose(heights[filled], 100 * bins.accuracy[filled])
    np.testing.assert_allclose(tops[filled], 100 * bins.confidence[filled])
    assert not tops[~filled].any()
    is_faint = np.array([b.get_alpha() < 0.5 for b in accuracies])
    np.testing.assert_array_equal(is_faint, bins.count < 10)
    counts = [b.get_height() for b in histogram.patches]
    np.testing.assert_array_equal(counts, bins.count)


def test_coverage(tmp_path, drawn):
  confidence_N = np.array([0.9, 0.8, 0.7, 0.6])
  probabilities_NxC = np.stack([confidence_N, 1 - confidence_N], axis=1)
  labels_N = np.array([0, 0, 1, 1])  # Right, right, wrong, wrong.
  path = tmp_path / "coverage.png"
  for at in (0.7, 0.95):
    figures.coverage(str(path), probabilities_NxC, labels_N, at, "A study")
  marked, unmarked = (figure.axes[0] for figure in drawn)
  curve, point, _ = marked.lines
  np.testing.assert_allclose(curve.get_xdata(), [25, 50, 75, 100])
  np.testing.assert_allclose(curve.get_ydata(), [100, 100, 200 / 3, 50])
  np.testing.assert_allclose(point.get_xydata(), [[75, 200 / 3]])
  # Of nothing that is kept there is no accuracy.
  assert len(unmarked.lines) == 2
