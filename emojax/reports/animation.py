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
_COLOUR_MAP = matplotlib.colormaps["Blues"]
_LETTERS_PER_INCH = 11  # Of the title.
_NUM_GREYS = 27  # With one blue for each percent: 128 colours.


def confusion_image(
  confusion_CxC: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
  """A confusion matrix as pixels, for TensorBoard.

  Shows percent of each true class. The figure of these classes is kept, so
  that a second matrix takes a fraction of the first one's time.

  Args:
    confusion_CxC: counts, true classes in rows.
    classes: C names.

  Returns:
    uint8 `[H, W, 3]`.
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
  12 s at most, repeats, and holds its last frame for 3 s.

  Args:
    path: of the GIF.
    confusion_ExCxC: counts, true classes in rows.
    frames_E: what each frame is called, such as `epoch 3`.
    classes: C names.
    title: above all frames.
  """
  heading = textwrap.fill(title, int(_LETTERS_PER_INCH * _width(len(classes))))
  picture = _picture(tuple(classes), 2 + heading.count("\n"))
  shown = _spread(len(confusion_ExCxC))
  images = []
  for index in shown:
    confusion_CxC = confusion_ExCxC[index]
    percent = 100 * unweighted_accuracy(confusion_CxC)
    line = f"{frames_E[index]}: unweighted accuracy {percent:.1f} %"
    pixels = picture.draw(confusion_CxC, f"{heading}\n{line}")
    images.append(Image.fromarray(pixels))
  palette = _palette()
  first, *others = (
    image.quantize(palette=palette, dither=Image.Dither.NONE)
    for image in images
  )
  seconds = min(_MOST_SECONDS, _FILM_SECONDS / len(shown))
  durations = [1000 * seconds] * len(others) + [1000 * _LAST_SECONDS]
  first.save(
    path,
    format="GIF",
    save_all=True,
    append_images=others,
    duration=[round(duration) for duration in durations],
    loop=0,
  )


def _spread(count: int) -> np.ndarray:
  """Indices of the frames shown: the first, the last, evenly between."""
  num_frames = min(count, _MAX_FRAMES)
  return np.linspace(0, count - 1, num_frames).round().astype(int)


def _palette() -> Image.Image:
  """One for all frames and films: the same share has the same blue in all."""
  blues = _COLOUR_MAP(np.linspace(0, 1, 101), bytes=True)[:, :3]
  greys = np.linspace(0, 255, _NUM_GREYS).astype(np.uint8)
  image = Image.new("P", (1, 1))
  image.putpalette([*blues.flat, *np.repeat(greys, 3)])
  return image


def _width(num_classes: int) -> float:
  """Of a picture, in inches; the title wants some even over two classes."""
  return max(1.5 + 0.4 * num_classes, 3.6)


class _Picture:
  """The figure of a confusion matrix, laid out once and drawn many times."""

  @matplotlib.rc_context({**style.STYLE, "axes.grid": False})
  def __init__(self, classes: tuple[str, ...], num_title_lines: int):
    height = 1.4 + 0.4 * len(classes) + 0.17 * num_title_lines
    self._figure = style.new_figure(_width(len(classes)), height)
    self._figure.set_dpi(100)
    ax = self._figure.subplots()
    count = len(classes)
    self._image = ax.imshow(
      np.zeros((count, count)), cmap=_COLOUR_MAP, vmin=0, vmax=100
    )
    self._texts = [
      ax.text(column, row, "", ha="center", va="center")
      for row, column in np.ndindex(count, count)
    ]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(count), classes, **slanted)
    ax.set_yticks(range(count), classes)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    self._title = self._figure.suptitle("\n".join(["line"] * num_title_lines))
    self._figure.canvas.draw()
    # Laying it out is most of the time of drawing it.
    self._figure.set_layout_engine("none")

  def draw(self, confusion_CxC: np.ndarray, title: str) -> np.ndarray:
    """uint8 `[H, W, 3]`, percent of each true class."""
    support_Cx1 = confusion_CxC.sum(axis=1, keepdims=True)
    percent_CxC = 100 * confusion_CxC / np.maximum(support_Cx1, 1)
    self._image.set_data(percent_CxC)
    for text, percent in zip(self._texts, percent_CxC.flat, strict=True):
      text.set_text(f"{percent:.0f}" if percent >= 0.5 else "")
      text.set_color("white" if percent > 60 else "black")
    self._title.set_text(title)
    self._figure.canvas.draw()
    return np.array(self._figure.canvas.buffer_rgba())[..., :3]


@functools.lru_cache(maxsize=4)
def _picture(classes: tuple[str, ...], num_title_lines: int) -> _Picture:
  return _Picture(classes, num_title_lines)
