"""Emotion over the time of a session.

T windows, C emotions.
"""

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np

from emojax.reports import style

_MOST_TEXT = 60.0  # Seconds of a session whose words fit under it.
_WRAP = 32  # Characters of a line of text.
_WORDS = {
  "fontsize": 6,
  "rotation": 90,
  "ha": "center",
  "va": "bottom",
  "clip_on": True,
}


@matplotlib.rc_context(style.STYLE)
def draw(
  path: str,
  classes: Sequence[str],
  ends_T: Sequence[float],
  probabilities_TxC: np.ndarray,
  segments: Sequence[tuple[float, float, str, str]],
  title: str,
) -> None:
  """Draws smoothed probabilities, and below them the segments of speech.

  Args:
    path: of the image; its suffix is the format.
    classes: names of the emotions.
    ends_T: of the windows, in seconds.
    probabilities_TxC: NaN where nobody speaks.
    segments: start and end in seconds, what is shown of it, what was said.
    title: the figure's.
  """
  figure = style.new_figure(9.0, 5.0)
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
  colours = {
    name: look["color"]
    for name, look in style.category_styles(np.asarray(classes)).items()
  }
  for name, values_T in zip(classes, 100 * probabilities_TxC.T, strict=True):
    above.plot(ends_T, values_T, linewidth=1.3, color=colours[name])
  above.set(ylabel="probability (%)", ylim=(0, 100))
  for start, end, label, text in segments:
    colour = colours.get(label, style.QUIET)
    below.axvspan(start, end, color=colour, alpha=0.3, linewidth=0)
    if ends_T[-1] <= _MOST_TEXT:
      words = "\n".join([label, *textwrap.wrap(text, _WRAP)])
      middle = (start + end) / 2
      below.text(middle, 0.03, words, **_WORDS)
  below.set(xlabel="seconds", yticks=[], ylim=(0, 1), xlim=(0, ends_T[-1]))
  below.set_ylabel("segments")
  looks = {name: {"color": colour} for name, colour in colours.items()}
  style.add_legend(figure, style.handles(looks))
  style.save(figure, path, title)
