"""What the selection figures show is read back from the drawn artists."""

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.figure import Figure
from PIL import Image

from emojax.reports import selection_figures, style

KINDS = ("full", "half", "none")


def labels(figure: Figure) -> list[str]:
  (legend,) = figure.legends
  return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize(("num_images", "count"), [(50, 10), (7, 3), (1, 1)])
def test_gallery(path, drawn, num_images, num_channels, count):
  """Image i is uniformly grey of level 5 i."""
  rng = np.random.default_rng(0)
  probability = rng.permutation(num_images) / num_images
  shape = (num_images, 8, 8, num_channels)
  levels = 5 * np.arange(num_images, dtype=np.uint8)
  images = np.broadcast_to(levels[:, None, None, None], shape)
  captions = [f"image {i}" for i in range(num_images)]
  selection_figures.gallery(path, images, probability, captions, "A study")
  with Image.open(path) as image:
    assert image.width > 100 * count
  (figure,) = drawn
  assert figure.get_suptitle() == "A study"
  lowest, highest = figure.subfigs
  assert "Lowest" in lowest.get_suptitle()
  assert "Highest" in highest.get_suptitle()
  order = np.argsort(probability)
  expected = [*order[:count], *order[::-1][:count]]
  axes = [*lowest.axes, *highest.axes]
  for ax, index in zip(axes, expected, strict=True):
    text = f"image {index}\n{probability[index]:.2f}"
    assert ax.get_xlabel() == text
    (image,) = ax.images
    assert (image.get_array() == 5 * index).all()
    assert image.get_clim() == (0, 255)


def test_caption_tells_a_wrong_label_and_a_known_kind():
  caption = selection_figures.caption
  assert caption("sad", "sad", "half") == "sad\nhalf"
  assert caption("sad", "angry", "half") == "sad\ngiven angry\nhalf"
  assert caption("sad", "sad", "") == "sad"


@pytest.mark.parametrize("num_runs", [1, 3])
def test_reward_curves(path, drawn, num_runs):
  rng = np.random.default_rng(0)

  def curves() -> selection_figures.Curves:
    retained = {kind: rng.random((num_runs, 12)) for kind in ("all", *KINDS)}
    return selection_figures.Curves(rng.normal(size=(num_runs, 12)), retained)

  systems = {name: curves() for name in ("DCNN+RLPS", "DCNN+RLPS+F1")}
  selection_figures.reward_curves(path, systems, "A study")
  (figure,) = drawn
  assert ("of 3 runs" in figure.get_supxlabel()) == (num_runs == 3)
  assert labels(figure) == ["all", *KINDS]
  lefts, rights = figure.axes[::2], figure.axes[1::2]
  for left, right, (name, one) in zip(
    lefts, rights, systems.items(), strict=True
  ):
    assert left.get_title(loc="left") == name
    (line,) = left.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
    np.testing.assert_allclose(line.get_ydata(), one.reward_RxT.mean(axis=0))
    for line, values in zip(right.lines, one.retained.values(), strict=True):
      np.testing.assert_allclose(line.get_ydata(), 100 * values.mean(axis=0))
    looks = [line.get_color() for line in right.lines]
    expected = [style.line_style(index)["color"] for index in range(3)]
    assert looks == [style.QUIET, *expected]
    assert len(left.collections) == (num_runs > 1)
    if num_runs > 1:
      edge = left.collections[0].get_paths()[0].vertices[:, 1]
      std_T = one.reward_RxT.std(axis=0, ddof=1)
      top = (one.reward_RxT.mean(axis=0) + std_T).max()
      np.testing.assert_allclose(edge.max(), top)


def test_sampled_rewards_with_kinds(path, drawn):
  rng = np.random.default_rng(0)
  rewards_TxM = rng.normal(size=(6, 20))
  kind_M = rng.integers(3, size=20)
  selection_figures.sampled_rewards(path, rewards_TxM, "t", kind_M, KINDS)
  (figure,) = drawn
  strip, ax = figure.axes[:2]
  (image,) = ax.images
  shown_MxT = np.asarray(image.get_array())
  assert shown_MxT.shape == (20, 6)
  assert (np.diff(shown_MxT[:, -1]) <= 0).all()
  order = np.argsort(-rewards_TxM[-1])
  np.testing.assert_array_equal(shown_MxT, rewards_TxM[:, order].T)
  low, high = image.get_clim()
  assert -low == high == np.abs(rewards_TxM).max()
  assert tuple(image.get_extent()) == (0.5, 6.5, 20, 0)
  (kinds,) = strip.images
  looks = kinds.to_rgba(kinds.get_array())[:, 0]
  expected = [style.line_style(kind)["color"] for kind in kind_M[order]]
  np.testing.assert_allclose(looks, colors.to_rgba_array(expected))
  assert labels(figure) == list(KINDS)


def test_sampled_rewards_of_unknown_kind(path, drawn):
  selection_figures.sampled_rewards(path, np.zeros((1, 4)), "t")
  (figure,) = drawn
  assert not figure.legends and not figure.axes[0].images
  assert "4 examples" in figure.axes[0].get_ylabel()


def test_retention_histogram(path, drawn):
  """No image is a half face; one value is the decision itself."""
  probability_N = np.asarray([0.5, 0.99, 1.0, 0.49, 0.0, 0.02, 0.62, 0.01])
  kind_N = np.asarray([0, 0, 0, 0, 2, 2, 2, 2])
  selection_figures.retention_histogram(
    path, probability_N, kind_N, KINDS, "A study"
  )
  (figure,) = drawn
  titles = [ax.get_title(loc="left") for ax in figure.axes]
  assert titles == [
    "full: 4 examples, 75.0 % at 0.5 or above",
    "none: 4 examples, 25.0 % at 0.5 or above",
  ]
  heights = [[bar.get_height() for bar in ax.patches] for ax in figure.axes]
  expected = np.zeros((2, 20))
  expected[0, [9, 10]], expected[0, 19] = 25, 50
  expected[1, 0], expected[1, 12] = 75, 25
  np.testing.assert_allclose(heights, expected)
  for ax, index in zip(figure.axes, (0, 2), strict=True):
    colour = style.line_style(index)["color"]
    assert colors.same_color(ax.patches[0].get_facecolor(), colour)
    assert ax.lines[0].get_xdata() == [0.5, 0.5]
