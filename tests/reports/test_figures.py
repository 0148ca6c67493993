"""What the figures show is read back from the drawn artists."""

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from emojax.reports import figures, style
from emojax.summary import Estimate, Row


def visible_axes(figure: Figure):
  return [ax for ax in figure.axes if ax.axison]


def labels(legend) -> list[str]:
  return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("num_settings", [1, 3, 5])
def test_learning_curves(path, drawn, num_settings):
  rng = np.random.default_rng(0)
  systems = ["C1", "DANN", "SVM"]
  curves = {
    f"setting {i}": {s: rng.normal(70, 1, (4, 30)) for s in systems}
    for i in range(num_settings)
  }
  figures.learning_curves(
    path, curves, "weighted accuracy (%)", "A study", "round"
  )
  with Image.open(path) as image:
    assert image.width > 300
  (figure,) = drawn
  assert figure.get_supylabel() == "weighted accuracy (%)"
  assert figure.get_supxlabel() == "round"
  axes = visible_axes(figure)
  assert [ax.get_title() for ax in axes] == list(curves)
  for ax, panel in zip(axes, curves.values(), strict=True):
    bands = ax.collections
    for line, band, values in zip(ax.lines, bands, panel.values(), strict=True):
      np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 31))
      np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
      low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
      drawn_y = band.get_paths()[0].vertices[:, 1]
      np.testing.assert_allclose(drawn_y.min(), low.min())
      np.testing.assert_allclose(drawn_y.max(), high.max())
  legends = figure.legends + [ax.get_legend() for ax in figure.axes]
  assert [labels(legend) for legend in legends if legend] == [systems]


def test_curves_are_what_the_history_has_of_rows(make_summary):
  summary = make_summary(
    rows=tuple(Row("few", system, {}) for system in ("dann", "c1", "svm")),
    curve="macro_f1",
  )
  history = {
    "few/c1/macro_f1": np.array([[0.1, 0.2]]),
    "few/dann/macro_f1": np.array([[0.3, 0.4]]),
    "few/dann/loss": np.array([[3.0, 2.0]]),
    "many/c1/macro_f1": np.array([[0.5, 0.5]]),
  }
  (panel,) = figures.curves(summary, history).values()
  assert list(panel) == ["DANN", "C1"]
  np.testing.assert_allclose(panel["DANN"], [[30, 40]])
  assert figures.curves(summary, {}) == {}


def test_learning_curves_show_the_end_not_the_first_epochs(path, drawn):
  curve = np.concatenate([np.linspace(0, 70, 10), np.full(90, 70.0)])
  figures.learning_curves(
    path, {"s": {"C1": curve[None]}}, "WA (%)", "t", "epoch"
  )
  low, high = visible_axes(drawn[0])[0].get_ylim()
  assert 68 < low < 70 < high < 72


def test_eight_systems_have_eight_styles(path, drawn):
  curves = {"s": {f"system {i}": np.ones((2, 5)) for i in range(8)}}
  figures.learning_curves(path, curves, "WA (%)", "t", "epoch")
  lines = visible_axes(drawn[0])[0].lines
  styles = {(line.get_color(), line.get_linestyle()) for line in lines}
  assert len(styles) > 6
  assert (
    len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == 8
  )


@pytest.mark.parametrize("num_systems", [1, 4])
def test_confusion_matrices(path, drawn, num_systems):
  counts = np.asarray([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
  matrices = {f"system {i}": counts for i in range(num_systems)}
  figures.confusion_matrices(path, matrices, ["sad", "happy", "calm"], "t")
  axes = [ax for ax in visible_axes(drawn[0]) if ax.get_title()]
  assert len(axes) == num_systems
  for ax in axes:
    (image,) = ax.images
    expected = [[75, 25, 0], [25, 75, 0], [0, 0, 0]]
    np.testing.assert_allclose(image.get_array(), expected)
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["75", "6", "25", "2"]
  for ticks in (axes[0].get_yticklabels(), axes[-1].get_xticklabels()):
    names = [label.get_text() for label in ticks]
    assert names == ["sad", "happy", "calm"]


@pytest.mark.parametrize(
  ("num_speakers", "num_grey"), [(2, 0), (24, 0), (27, 3)]
)
def test_projections(path, drawn, num_speakers, num_grey):
  rng = np.random.default_rng(0)
  num_points = 6 * num_speakers
  speakers = [f"s{i % num_speakers:02d}" for i in range(num_points)]
  emotions = [["sad", "happy", ""][i % 3] for i in range(num_points)]
  points = {name: rng.normal(size=(num_points, 2)) for name in ("C1", "DANN")}
  figures.projections(path, points, speakers, emotions, "t")
  axes = drawn[0].axes
  assert [ax.get_title() for ax in axes] == ["C1", "DANN", "", ""]
  for ax, system in zip(axes, ["C1", "DANN"] * 2, strict=True):
    offsets = np.concatenate([c.get_offsets() for c in ax.collections])
    np.testing.assert_allclose(
      np.sort(offsets, axis=0), np.sort(points[system], axis=0)
    )
  speaker_legend = labels(axes[1].get_legend())
  assert len(speaker_legend) == min(num_speakers, 24) + (num_grey > 0)
  if num_grey:
    assert speaker_legend[-1] == f"{num_grey} others"
  handles = axes[1].get_legend().legend_handles
  styles = {(h.get_color(), h.get_marker()) for h in handles}
  assert len(styles) == len(speaker_legend)
  assert labels(axes[3].get_legend()) == ["happy", "sad", "unlabelled"]


def test_comparison(path, drawn, make_summary):
  summary = make_summary(
    rows=(
      Row("few", "c1", {"macro_f1": Estimate.of([0.6, 0.7, 0.65])}),
      Row("few", "svm", {"macro_f1": Estimate.of([0.5])}),
      Row("many", "c1", {"macro_f1": Estimate.of([0.8, 0.9, 0.85])}),
      Row("many", "dann", {"weighted_accuracy": Estimate.of([0.8])}),
    ),
  )
  figures.comparison(path, {"": summary}, "macro_f1", "A study")
  (figure,) = drawn
  assert figure.get_suptitle() == "A study"
  assert figure.get_supxlabel() == "macro f1 (%)"
  few, many = visible_axes(figure)
  names = [label.get_text() for label in few.get_yticklabels()]
  assert names == ["C1", "SVM"]
  runs, interval, mean, svm = [
    np.column_stack(np.atleast_1d(*line.get_data())) for line in few.lines
  ]
  np.testing.assert_allclose(runs, [[60, 0], [70, 0], [65, 0]])
  estimate = summary.rows[0].metrics["macro_f1"]
  assert interval[:, 0].tolist() == [100 * end for end in estimate.ci95]
  np.testing.assert_allclose(mean, [[65, 0]])
  np.testing.assert_allclose(svm, [[50, 1]])
  assert len(many.lines) == 3
  assert [line.get_color() for line in few.lines[2:]] == [
    style.line_style(place)["color"] for place in (0, 2)
  ]
  (legend,) = figure.legends
  assert labels(legend) == ["mean, 95 % interval", "single runs"]


def test_systems_of_several_runs_are_next_to_each_other(
  path, drawn, make_summary
):
  def row(setting, system, *runs):
    return Row(setting, system, {"macro_f1": Estimate.of(runs)})

  mute = Row("u", "c1", {"weighted_accuracy": Estimate.of([0.5])})
  summaries = {
    "one": make_summary(
      rows=(row("s", "c1", 0.5, 0.6), row("s", "svm", 0.4), mute)
    ),
    "two": make_summary(
      rows=(row("s", "c1", 0.7, 0.8), row("t", "c1", 0.1, 0.2, 0.3))
    ),
  }
  figures.comparison(path, summaries, "macro_f1", "A study")
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
  np.testing.assert_allclose(singles.get_xdata(), [10, 20, 30])
  low, high = summaries["two"].rows[1].metrics["macro_f1"].ci95
  np.testing.assert_allclose(interval.get_xdata(), [100 * low, 100 * high])
  (legend,) = figure.legends
  texts = [text.get_text() for text in legend.get_texts()]
  assert texts == ["one", "two", "single runs"]
  assert colors.same_color(legend.legend_handles[1].get_color(), theirs)
