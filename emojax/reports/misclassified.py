"""A page to listen to what a classifier got wrong."""

import html
import io
import pathlib
import string
import urllib.parse
from collections.abc import Sequence
from functools import partial
from importlib import resources
from typing import NamedTuple

import numpy as np
import soundfile

from emojax.audio.settings import SAMPLE_RATE


class Clip(NamedTuple):
  """A misclassified recording, `name` in its corpus.

  `audio` is its file, relative to the page, with `/` between folders.
  """

  audio: str
  true: str
  predicted: str
  probabilities_C: Sequence[float]
  speaker: str
  corpus: str
  name: str


def page(title: str, classes: Sequence[str], clips: Sequence[Clip]) -> str:
  """The page as HTML, whole in itself but for the recordings.

  It opens from the disk, in light and dark. Clips are filtered by true and by
  predicted class, and sorted by either or by confidence; the most confident
  mistakes come first. Without JavaScript all of them are shown.
  """
  names = [html.escape(name) for name in classes]
  surest_first = sorted(clips, key=lambda clip: -max(clip.probabilities_C))
  template = resources.files("emojax.reports") / "templates/misclassified.html"
  return string.Template(template.read_text(encoding="utf-8")).substitute(
    title=html.escape(title),
    names=", ".join(names),
    options="".join(f"<option>{name}</option>" for name in names),
    count=len(clips),
    rows="\n".join(_row(classes, clip) for clip in surest_first),
  )


def write_audio(path: pathlib.Path, samples_S: np.ndarray) -> None:
  """Writes mono samples as a WAV file of 16 bits, which every browser plays.

  At 16 kHz, full scale at 1; what is louder is clipped. Raises OSError where
  the file can not be written.
  """
  # In memory first: libsndfile has errors of its own for a disk that is full.
  buffer = io.BytesIO()
  soundfile.write(buffer, samples_S, SAMPLE_RATE, "PCM_16", format="WAV")
  path.write_bytes(buffer.getbuffer())


def _row(classes: Sequence[str], clip: Clip) -> str:
  confidence = max(clip.probabilities_C)
  bars = "".join(map(partial(_bar, clip), classes, clip.probabilities_C))
  true, predicted = html.escape(clip.true), html.escape(clip.predicted)
  name = html.escape(clip.name)
  source = html.escape(urllib.parse.quote(clip.audio))
  return (
    f'<tr data-true="{true}" data-predicted="{predicted}" '
    f'data-confidence="{confidence:.6f}">'
    f'<td class="true">{true}</td><td class="predicted">{predicted}</td>'
    f'<td class="number">{100 * confidence:.0f} %</td>'
    f'<td><div class="bars">{bars}</div></td>'
    f'<td><div class="name">{name}</div><div class="from">speaker '
    f"{html.escape(clip.speaker)}, {html.escape(clip.corpus)}</div></td>"
    f'<td><audio controls preload="none" src="{source}" '
    f'aria-label="{name}"></audio></td></tr>'
  )


def _bar(clip: Clip, name: str, probability: float) -> str:
  kinds = {clip.predicted: "predicted", clip.true: "true"}
  kind = kinds.get(name, "other")
  caption = html.escape(f"{name} {100 * probability:.1f} %")
  return (
    f'<span class="bar {kind}" title="{caption}">'
    f'<i style="height:{100 * probability:.1f}%"></i></span>'
  )
