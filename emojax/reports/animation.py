"""Confusion matrices while a classifier is trained: as pixels, and as a film.

E evaluations, C classes.
"""

import functools
import pathlib
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image

from emojax.metrics import unweighted_accuracy
from emojax.reports import style

_UNIT = "share of each true class (%)"
_MAX_FRAMES = 100
_FILM_SECONDS = 12.0
_MOST_SECONDS, _LAST_SECONDS = 0.5, 3.0
_LETTERS_PER_INCH = 11  # Of the title.
_NUM_GREYS = 27  # With one blue for each percent: 128 colours.


def confusion_image(
  confusion_CxC: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
  """A confusion matrix as pixels, uint8 `[H, W, 3]`, for TensorBoard.

  From counts, true classes in rows. The figure of these classes is kept: a
  second matrix takes a fraction of the first one's time.
  """
  return _picture(tuple(classes), 1).draw(confusion_CxC, _UNIT)


def confusion_animation(
  path: str | pathlib.Path,
  confusion_ExCxC: np.ndarray,
  frames_E: Sequence[str],
  classes: Sequence[str],
  title: str,
) -> None:
  """Writes a GIF of the confusion matrix of every evaluation, in percent.

  Of more than 100 evaluations, 100 evenly spread ones are shown. The film lasts
  12 s at most, repeats, and holds its last frame for 3 s. `frames_E` says what
  each frame is called, such as `epoch 3`; the title stands above all.
  """
  heading = textwrap.fill(title, int(_LETTERS_PER_INCH * _width(len(classes))))
  picture = _picture(tuple(classes), 2 + heading.count("\n"))
  last, palette = len(confusion_ExCxC) - 1, _palette()
  shown = np.linspace(0, last, min(last + 1, _MAX_FRAMES)).round().astype(int)
  images = []
  for index in shown:
    percent = 100 * unweighted_accuracy(confusion_ExCxC[index])
    line = f"{frames_E[index]}: unweighted accuracy {percent:.1f} %"
    pixels = picture.draw(confusion_ExCxC[index], f"{heading}\n{line}")
    image = Image.fromarray(pixels)
    images.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
  seconds = min(_MOST_SECONDS, _FILM_SECONDS / len(shown))
  durations = [seconds] * (len(images) - 1) + [_LAST_SECONDS]
  images[0].save(
    path,
    format="GIF",
    save_all=True,
    append_images=images[1:],
    duration=[round(1000 * duration) for duration in durations],
    loop=0,
  )


def _palette() -> Image.Image:
  """One for all frames and films: the same share has the same blue in all."""
  blues = matplotlib.colormaps["Blues"](np.linspace(0, 1, 101), bytes=True)
  greys = np.linspace(0, 255, _NUM_GREYS).astype(np.uint8)
  image = Image.new("P", (1, 1))
  image.putpalette([*blues[:, :3].flat, *np.repeat(greys, 3)])
  return image


def _width(num_classes: int) -> float:
  """Of a picture, in inches; the title wants some even over two classes."""
  return max(1.5 + 0.4 * num_classes, 3.6)


class _Picture:
  """The figure of a confusion matrix, laid out once and drawn many times."""

  @matplotlib.rc_context(style.BARE)
  def __init__(self, classes: tuple[str, ...], num_title_lines: int):
    height = 1.4 + 0.4 * len(classes) + 0.17 * num_title_lines
    self._figure = style.new_figure(_width(len(classes)), height)
    self._figure.set_dpi(100)
    ax = self._figure.subplots()
    self._image = style.confusion_axes(ax, classes)
    self._texts = [
      ax.text(column, row, "", ha="center", va="center")
      for row, column in np.ndindex(len(classes), len(classes))
    ]
    ax.set(xlabel="predicted", ylabel="true")
    self._title = self._figure.suptitle("\n".join(["line"] * num_title_lines))
    self._figure.canvas.draw()
    # Laying it out is most of the time of drawing it.
    self._figure.set_layout_engine("none")

  def draw(self, confusion_CxC: np.ndarray, title: str) -> np.ndarray:
    """uint8 `[H, W, 3]`, percent of each true class."""
    percent_CxC = style.percent_of_truth(confusion_CxC)
    self._image.set_data(percent_CxC)
    for text, percent in zip(self._texts, percent_CxC.flat, strict=True):
      text.set_text(f"{percent:.0f}" if percent >= 0.5 else "")
      text.set_color("white" if percent > 60 else "black")
    self._title.set_text(title)
    self._figure.canvas.draw()
    return np.array(self._figure.canvas.buffer_rgba())[..., :3]


_picture = functools.lru_cache(maxsize=4)(_Picture)
