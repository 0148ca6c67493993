"""Where in a clip the classifier listens."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from emojax import spectral
from emojax.reports import style

_RATE = 16_000
_HOP = 160  # 10 ms.
_WINDOW = 512
_NUM_MELS = 64
_RANGE_DB = 70.0  # Below the loudest, all is black.
_FREQUENCIES = {500: "0.5", 1000: "1", 2000: "2", 4000: "4"}
_COLUMNS = 2


class Clip(NamedTuple):
  """A recording at 16 kHz, and the weights with which its frames were pooled.

  Frames have their middles in seconds; the sum of weights is 1.
  """

  audio_S: np.ndarray
  centres_T: np.ndarray
  weights_T: np.ndarray
  title: str


@matplotlib.rc_context(style.BARE)
def attention_over_spectrogram(
  path: str, clips: Sequence[Clip], title: str
) -> None:
  """Attention weights above the log-mel spectrogram, for each clip.

  The weights are drawn as multiples of a plain mean's (1 / T), so that clips of
  any length compare. Four to six clips are read with ease.
  """
  num_columns = min(_COLUMNS, len(clips))
  num_rows = -(-len(clips) // num_columns)
  figure = style.new_figure(4.2 * num_columns, 2.3 * num_rows + 0.5)
  # A clip's two axes are close to each other, and far from the next clip's.
  figure.get_layout_engine().set(h_pad=0.03, hspace=0.0)
  cells = figure.subfigures(num_rows, num_columns, squeeze=False).flat
  highest = max(len(clip.weights_T) * max(clip.weights_T) for clip in clips)
  for cell, clip in zip(cells, clips, strict=False):
    curve, picture = cell.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    curve.set_title(clip.title)
    multiples_T = np.asarray(clip.weights_T) * len(clip.weights_T)
    curve.axhline(1, **style.REFERENCE)
    shade = {"color": style.ORANGE, "alpha": 0.25, "linewidth": 0}
    curve.fill_between(clip.centres_T, multiples_T, **shade)
    curve.plot(clip.centres_T, multiples_T, color=style.ORANGE, linewidth=1.3)
    curve.set(ylim=(0, 1.05 * max(highest, 1)), ylabel="weight\n(× mean)")
    curve.tick_params(axis="x", length=0)
    _draw_spectrogram(picture, clip.audio_S)
    picture.set_xlim(0, len(clip.audio_S) / _RATE)
    cell.align_ylabels()
  style.save(figure, path, title)


def log_mel(audio_S: np.ndarray) -> np.ndarray:
  """Log-mel spectrogram [mels, frames] in decibels, the loudest at 0.

  Frame i has its middle at i x 10 ms.
  """
  # In NumPy: JAX would compile a program for the length of each clip.
  padded_S = np.pad(audio_S, (_WINDOW // 2, _WINDOW))
  frames_TxW = np.lib.stride_tricks.sliding_window_view(padded_S, _WINDOW)
  frames_TxW = frames_TxW[: len(audio_S) + 1 : _HOP] * spectral.window(_WINDOW)
  power_TxF = np.abs(np.fft.rfft(frames_TxW)) ** 2
  power_TxM = power_TxF @ spectral.mel_filters(_RATE, _WINDOW, _NUM_MELS)
  decibels = 10 * np.log10(np.maximum(power_TxM.T, spectral.POWER_FLOOR))
  return np.maximum(decibels - decibels.max(), -_RANGE_DB)


def _draw_spectrogram(ax: Axes, audio_S: np.ndarray) -> None:
  decibels = log_mel(audio_S)
  edges = (np.array([0, decibels.shape[1]]) - 0.5) * _HOP / _RATE
  top = spectral.mels(np.array(_RATE / 2))
  look = {"cmap": "magma", "origin": "lower", "aspect": "auto"}
  ax.imshow(decibels, extent=(*edges, 0, top), **look)
  marks = spectral.mels(np.array([*_FREQUENCIES]))
  ax.set_yticks(marks, _FREQUENCIES.values())
  ax.set(xlabel="seconds", ylabel="kHz")
