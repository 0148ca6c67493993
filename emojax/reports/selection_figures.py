"""What a selector does to its training images: Figs. 5, 8, 9 of Li & Xu (2020).

N images, M of them sampled, T epochs, R replicates. A kind of noise has the
colour of its place among the names, the same in all figures. Each figure takes
its path, whose suffix is the format, and its title.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from emojax.reports import style

ALL = "all"
_COLUMNS = 10
# An edge of the bins is the decision, 0.5.
_BINS = np.linspace(0, 1, 21)


class Curves(NamedTuple):
  """The course of one system's training.

  Attributes:
    reward_RxT: mean over the training images.
    retained: `{kind: [R, T]}`, fractions; `ALL` may be one of the kinds.
  """

  reward_RxT: np.ndarray
  retained: Mapping[str, np.ndarray]


def caption(label: str, given: str, kind: str) -> str:
  """What `gallery` says of an image besides its probability.

  Args:
    label: the true one.
    given: the one that is trained on.
    kind: of the image's noise; an empty one is not known.
  """
  lines = [label, f"given {given}" if given != label else "", kind]
  return "\n".join(line for line in lines if line)


@matplotlib.rc_context({**style.STYLE, "axes.grid": False})
def gallery(
  path: str,
  images: np.ndarray,
  probability: np.ndarray,
  captions: Sequence[str],
  title: str,
) -> None:
  """Fig. 5: the images that are the least and the most likely to be retained.

  Args:
    images: uint8 [N, H, W, C], grey or RGB.
    probability: [N] of being retained.
    captions: N of them, see `caption`.
  """
  order = np.argsort(probability, kind="stable")
  count = max(1, min(_COLUMNS, len(order) // 2))
  rows = {
    "Lowest retention probability": order[:count],
    "Highest retention probability": order[::-1][:count],
  }
  heights = [
    1.55 + 0.12 * max(captions[index].count("\n") for index in row)
    for row in rows.values()
  ]
  figure = style.new_figure(count, 0.3 + sum(heights))
  parts = figure.subfigures(2, 1, height_ratios=heights)
  for part, (name, row) in zip(parts, rows.items(), strict=True):
    part.suptitle(name, fontsize="medium")
    axes = part.subplots(1, count, squeeze=False)[0]
    for ax, index in zip(axes, row, strict=True):
      _show(ax, images[index])
      text = f"{captions[index]}\n{probability[index]:.2f}"
      ax.set_xlabel(text, fontsize="small")
  style.save(figure, path, title)


@matplotlib.rc_context(style.STYLE)
def reward_curves(path: str, curves: Mapping[str, Curves], title: str) -> None:
  """Figs. 8, 9 (a), (c): mean reward, and beside it the share retained.

  Mean and standard deviation over replicates. Each system has its own scale of
  rewards: a probability is not a change of F1.

  Args:
    curves: `{system: Curves}`, all with the same kinds.
  """
  figure = style.new_figure(6.5, 2.0 * len(curves) + 0.6)
  grid = figure.subplots(len(curves), 2, sharex=True, squeeze=False)
  handles = {}
  for (left, right), (system, one) in zip(grid, curves.items(), strict=True):
    left.set_title(system, loc="left")
    left.set_ylabel("mean reward")
    _draw_curve(left, one.reward_RxT, {"color": "black"})
    right.set_ylabel("retained (%)")
    right.set_ylim(-3, 103)
    kinds = [kind for kind in one.retained if kind != ALL]
    for kind, retained_RxT in one.retained.items():
      look = {"color": style.QUIET, "linestyle": (0, (1, 1))}
      if kind != ALL:
        look = style.line_style(kinds.index(kind))
      _draw_curve(right, 100 * retained_RxT, look)
      handles[kind] = Line2D([], [], label=kind, **look)
  num_runs = max(len(one.reward_RxT) for one in curves.values())
  band = f" (mean ± standard deviation of {num_runs} runs)"
  figure.supxlabel(f"epoch{band if num_runs > 1 else ''}")
  style.add_legend(figure, list(handles.values()))
  style.save(figure, path, title)


@matplotlib.rc_context({**style.STYLE, "axes.grid": False})
def sampled_rewards(
  path: str,
  rewards_TxM: np.ndarray,
  title: str,
  kind_M: np.ndarray | None = None,
  names: Sequence[str] = (),
) -> None:
  """Figs. 8, 9 (b): rewards of single images, the highest last one on top.

  Args:
    rewards_TxM: of M sampled images, about a hundred.
    kind_M: int, index of each image's kind; None where it is not known.
    names: of the kinds.
  """
  order = np.argsort(-rewards_TxM[-1], kind="stable")
  num_epochs, num_images = rewards_TxM.shape
  figure = style.new_figure(6.0, 4.2)
  strip, ax = figure.subplots(1, 2, width_ratios=(1, 30))
  limit = np.abs(rewards_TxM).max() or 1.0
  image = _picture(
    ax,
    rewards_TxM[:, order].T,
    cmap="RdBu",
    vmin=-limit,
    vmax=limit,
    extent=(0.5, num_epochs + 0.5, num_images, 0),
  )
  ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  ax.set_xlabel("epoch")
  figure.colorbar(image, ax=ax, label="reward").outline.set_visible(False)
  strip.set_ylabel(f"{num_images} examples, by their last reward")
  strip.set_xticks([])
  for bare in (strip, ax):
    bare.set_yticks([])
    bare.spines[:].set_visible(False)
  if kind_M is not None:
    _draw_kinds(strip, np.asarray(kind_M)[order], names)
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

  Args:
    probability_N: of being retained.
    kind_N: int, index of each image's kind.
    names: of the kinds; one without an image is left out.
  """
  groups = {
    index: probability_N[kind_N == index]
    for index in range(len(names))
    if (kind_N == index).any()
  }
  figure = style.new_figure(5.0, 1.2 * len(groups) + 0.9)
  grid = figure.subplots(
    len(groups), 1, sharex=True, sharey=True, squeeze=False
  )
  for ax, (index, values) in zip(grid[:, 0], groups.items(), strict=True):
    ax.hist(
      values,
      _BINS,
      weights=np.full(len(values), 100 / len(values)),
      color=style.line_style(index)["color"],
    )
    ax.axvline(0.5, color=style.QUIET, linewidth=1.0, linestyle=":")
    share = 100 * np.mean(values >= 0.5)
    ax.set_title(
      f"{names[index]}: {len(values)} examples, {share:.1f} % at 0.5 or above",
      loc="left",
    )
    ax.margins(x=0.01)
  figure.supylabel("examples of a kind (%)")
  figure.supxlabel("retention probability")
  style.save(figure, path, title)


def _show(ax: Axes, image: np.ndarray) -> None:
  is_grey = image.shape[-1] == 1
  ax.imshow(image[..., 0] if is_grey else image, cmap="gray", vmin=0, vmax=255)
  ax.set_anchor("N")
  ax.set_xticks([])
  ax.set_yticks([])
  ax.spines[:].set(visible=True, color=style.OTHERS["color"])


def _draw_kinds(strip: Axes, kind_M: np.ndarray, names: Sequence[str]) -> None:
  """A cell for each image, and the legend below the figure."""
  colours = [style.line_style(index)["color"] for index in range(len(names))]
  # Half a unit up: whole numbers would be edges between two colours.
  look = {"cmap": ListedColormap(colours), "vmin": 0, "vmax": len(names)}
  _picture(strip, kind_M[:, None] + 0.5, **look)
  patches = [
    Patch(color=colour, label=name)
    for colour, name in zip(colours, names, strict=True)
  ]
  strip.figure.legend(
    handles=patches, loc="outside lower center", ncols=len(patches)
  )


def _picture(ax: Axes, values: np.ndarray, **look: Any) -> AxesImage:
  return ax.imshow(values, aspect="auto", interpolation="nearest", **look)


def _draw_curve(
  ax: Axes, values_RxT: np.ndarray, look: Mapping[str, Any]
) -> None:
  """Mean over replicates, and one standard deviation around it."""
  epochs = np.arange(1, values_RxT.shape[1] + 1)
  mean_T = values_RxT.mean(axis=0)
  if len(values_RxT) > 1:
    std_T = values_RxT.std(axis=0, ddof=1)
    band = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
    ax.fill_between(epochs, mean_T - std_T, mean_T + std_T, **band)
  ax.plot(epochs, mean_T, linewidth=1.3, **look)
  ax.margins(x=0)
  ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
