"""What the programs on Whisper's layers of RAVDESS share.

Their flags and config, and a summary of rows that are compared over speakers.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import summary as summaries
from emojax.runtime import environment, files
from emojax.summary import Row, Summary, System
from experiments.adversary import study

SETTING = study.CORPORA["whisper"].label  # EmoBox's folds.
_HERE = pathlib.Path(__file__).parent
_LAYERS, _WIDTH = 7, 512  # Of Whisper base, with what enters the first.


def begin(
  doc: str, seeds: int, beside: pathlib.Path = _HERE
) -> tuple[pathlib.Path, ml_collections.ConfigDict, Summary]:
  """The folder for results, the config of `study`, and whose rows are beside.

  Args:
    doc: of the program, whose first line is for `--help`.
    seeds: initialisations.
    beside: the folder of a committed summary, where no other one is named.
  """
  parser = argparse.ArgumentParser(description=doc.splitlines()[0])
  parser.add_argument("output", type=pathlib.Path)
  parser.add_argument("--ravdess", help="the folder of RAVDESS", required=True)
  parser.add_argument("--encoder", default="openai/whisper-base")
  parser.add_argument(
    "--beside",
    type=pathlib.Path,
    default=beside,
    help="a folder whose summary has the rows that stand beside; else the "
    "committed ones",
  )
  parser.set_defaults(meld="", text="", seeds=seeds)
  arguments = parser.parse_args()
  config = study.config_of("whisper", arguments)
  config.data.audio_layers = ()
  return arguments.output, config, summaries.read(arguments.beside)


def states(features_UxD: np.ndarray) -> np.ndarray:
  """The mean states of each layer, [U, L, D].

  Raises:
    SystemExit: they are of an encoder of another size.
  """
  count, width = features_UxD.shape
  if width != _LAYERS * _WIDTH:
    raise SystemExit(
      "--encoder has to be of Whisper base's size: its clips have "
      f"{_LAYERS} states of {_WIDTH} values, not {width} values in all"
    )
  return features_UxD.reshape(count, _LAYERS, _WIDTH)


def write(
  folder: pathlib.Path,
  title: str,
  systems: Sequence[System],
  rows: Sequence[Row],
  pairs: Sequence[tuple[str, str]],
  details: Mapping[str, Any] | None = None,
) -> Summary:
  """Writes `summary.json` into the folder, with `pairs` over speakers."""
  summary = Summary(
    study="dann",
    title=title,
    demo=False,
    classes=(),
    selection=summaries.LAST_EPOCH,
    metrics=("weighted_accuracy", "unweighted_accuracy"),
    systems=tuple(systems),
    rows=tuple(rows),
    comparisons=summaries.compare(rows, pairs, ()),
    details=details or {},
    **environment.describe(),
  )
  folder.mkdir(parents=True, exist_ok=True)
  with files.whole(folder / summaries.FILE) as path:
    summaries.write(path, summary)
  return summary
