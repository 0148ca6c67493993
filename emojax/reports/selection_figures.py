"""What a selector does to its training images: Figs. 5, 8, 9 of Li & Xu (2020).

N images, M of them sampled, T epochs, R replicates. A kind of noise has the
colour of its place among the names, the same in all figures. Each figure takes
its path, whose suffix is the format, and its title.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from emojax.reports import style

ALL = "all"
_COLUMNS = 10
_GRID_COLUMNS = 8
_HIGHEST = 2.0  # Inches of a picture in a grid.
# An edge of the bins is the decision, 0.5.
_BINS = np.linspace(0, 1, 21)
_CELLS = {"aspect": "auto", "interpolation": "nearest"}


class Curves(NamedTuple):
  """The course of one system's training: mean rewards, fractions retained.

  `retained` is `{kind: [R, T]}`; `ALL` may be one of the kinds.
  """

  reward_RxT: np.ndarray
  retained: Mapping[str, np.ndarray]


def caption(label: str, given: str, kind: str) -> str:
  """What `gallery` says of an image: true label, one trained on, noise."""
  lines = [label, f"given {given}" if given != label else "", kind]
  return "\n".join(line for line in lines if line)


@matplotlib.rc_context(style.BARE)
def gallery(
  path: str,
  images: np.ndarray,
  probability: np.ndarray,
  captions: Sequence[str],
  title: str,
) -> None:
  """Fig. 5: the images that are the least and the most likely to be retained.

  Of uint8 images [N, H, W, C], grey or RGB, with probabilities [N].
  """
  order = np.argsort(probability, kind="stable")
  count = max(1, min(_COLUMNS, len(order) // 2))
  rows = {
    "Lowest retention probability": order[:count],
    "Highest retention probability": order[::-1][:count],
  }
  lines = [max(captions[i].count("\n") for i in row) for row in rows.values()]
  heights = [1.55 + 0.12 * number for number in lines]
  figure = style.new_figure(count, 0.3 + sum(heights))
  parts = figure.subfigures(2, 1, height_ratios=heights)
  for part, (name, row) in zip(parts, rows.items(), strict=True):
    part.suptitle(name, fontsize="medium")
    axes = part.subplots(1, count, squeeze=False)[0]
    for ax, index in zip(axes, row, strict=True):
      text = f"{captions[index]}\n{probability[index]:.2f}"
      _draw(ax, images[index], text)
  style.save(figure, path, title)


@matplotlib.rc_context(style.BARE)
def grid(
  path: str,
  pictures: Sequence[np.ndarray],
  captions: Sequence[str],
  title: str,
) -> None:
  """Pictures uint8 [H, W, C] of any sizes, grey or RGB, in rows of eight.

  Each with its caption of three lines, in the order in which they come.
  """
  count = min(_GRID_COLUMNS, len(pictures))
  num_rows = -(-len(pictures) // count)
  # What the highest of them takes, and the lines below it.
  height = 1.15 * max(one.shape[0] / one.shape[1] for one in pictures)
  height = min(height, _HIGHEST) + 0.7
  figure = style.new_figure(1.25 * count, height * num_rows + 0.3)
  axes = figure.subplots(num_rows, count, squeeze=False).ravel()
  for ax, picture, text in zip(axes, pictures, captions, strict=False):
    _draw(ax, picture, text)
  for ax in axes[len(pictures) :]:
    ax.set_axis_off()
  style.save(figure, path, title)


@matplotlib.rc_context(style.STYLE)
def reward_curves(path: str, curves: Mapping[str, Curves], title: str) -> None:
  """Figs. 8, 9 (a), (c): mean reward, and beside it the share retained.

  Mean and standard deviation over replicates. Each system has its own scale of
  rewards: a probability is not a change of F1. All systems have the same kinds.
  """
  figure = style.new_figure(6.5, 2.0 * len(curves) + 0.6)
  grid = figure.subplots(len(curves), 2, sharex=True, squeeze=False)
  looks = {}
  for (left, right), (system, one) in zip(grid, curves.items(), strict=True):
    left.set_title(system, loc="left")
    left.set_ylabel("mean reward")
    style.mean_curve(left, one.reward_RxT, _deviation, {"color": "black"})
    right.set_ylabel("retained (%)")
    right.set_ylim(-3, 103)
    kinds = [kind for kind in one.retained if kind != ALL]
    for kind, retained_RxT in one.retained.items():
      looks[kind] = {"color": style.QUIET, "linestyle": (0, (1, 1))}
      if kind != ALL:
        looks[kind] = style.line_style(kinds.index(kind))
      style.mean_curve(right, 100 * retained_RxT, _deviation, looks[kind])
  num_runs = max(len(one.reward_RxT) for one in curves.values())
  band = f" (mean ± standard deviation of {num_runs} runs)"
  figure.supxlabel(f"epoch{band if num_runs > 1 else ''}")
  style.add_legend(figure, style.handles(looks))
  style.save(figure, path, title)


@matplotlib.rc_context(style.BARE)
def sampled_rewards(
  path: str,
  rewards_TxM: np.ndarray,
  title: str,
  kind_M: np.ndarray | None = None,
  names: Sequence[str] = (),
) -> None:
  """Figs. 8, 9 (b): rewards of single images, the highest last one on top.

  Of about a hundred images; `kind_M` is an index of `names`, None for unknown.
  """
  order = np.argsort(-rewards_TxM[-1], kind="stable")
  num_epochs, num_images = rewards_TxM.shape
  figure = style.new_figure(6.0, 4.2)
  strip, ax = figure.subplots(1, 2, width_ratios=(1, 30))
  limit = np.abs(rewards_TxM).max() or 1.0
  look = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
  extent = (0.5, num_epochs + 0.5, num_images, 0)
  image = ax.imshow(rewards_TxM[:, order].T, extent=extent, **look, **_CELLS)
  ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  ax.set_xlabel("epoch")
  figure.colorbar(image, ax=ax, label="reward").outline.set_visible(False)
  strip.set_ylabel(f"{num_images} examples, by their last reward")
  strip.set_xticks([])
  for bare in (strip, ax):
    bare.set_yticks([])
    bare.spines[:].set_visible(False)
  if kind_M is not None:
    # Half a unit up: whole numbers would be edges between two colours.
    places_Mx1 = np.asarray(kind_M)[order, None] + 0.5
    colours = [style.line_style(index)["color"] for index in range(len(names))]
    look = {"cmap": ListedColormap(colours), "vmin": 0, "vmax": len(names)}
    strip.imshow(places_Mx1, **look, **_CELLS)
    patches = [
      Patch(color=colour, label=name)
      for colour, name in zip(colours, names, strict=True)
    ]
    below = {"loc": "outside lower center", "ncols": len(patches)}
    figure.legend(handles=patches, **below)
  style.save(figure, path, title)


@matplotlib.rc_context(style.STYLE)
def retention_histogram(
  path: str,
  probability_N: np.ndarray,
  kind_N: np.ndarray,
  names: Sequence[str],
  title: str,
) -> None:
  """Distribution of the retention probability, for each kind of image.

  `kind_N` is an index of `names`; a kind without an image is left out.
  """
  groups = {i: probability_N[kind_N == i] for i in np.unique(kind_N)}
  figure = style.new_figure(5.0, 1.2 * len(groups) + 0.9)
  grid = figure.subplots(
    len(groups), 1, sharex=True, sharey=True, squeeze=False
  )
  for ax, (index, values) in zip(grid[:, 0], groups.items(), strict=True):
    percent = np.full(len(values), 100 / len(values))
    colour = style.line_style(index)["color"]
    ax.hist(values, _BINS, weights=percent, color=colour)
    ax.axvline(0.5, **style.REFERENCE)
    share = 100 * np.mean(values >= 0.5)
    ax.set_title(
      f"{names[index]}: {len(values)} examples, {share:.1f} % at 0.5 or above",
      loc="left",
    )
    ax.margins(x=0.01)
  figure.supylabel("examples of a kind (%)")
  figure.supxlabel("retention probability")
  style.save(figure, path, title)


def _draw(ax: Axes, picture: np.ndarray, text: str) -> None:
  """A picture uint8 [H, W, C], grey or RGB, and the text below it."""
  image = picture if picture.shape[-1] == 3 else picture[..., 0]
  ax.imshow(image, cmap="gray", vmin=0, vmax=255)
  ax.set(anchor="N", xticks=[], yticks=[])
  ax.spines[:].set(visible=True, color=style.OTHERS["color"])
  ax.set_xlabel(text, fontsize="small")


def _deviation(values_RxT: np.ndarray) -> np.ndarray:
  return values_RxT.std(axis=0, ddof=1)
