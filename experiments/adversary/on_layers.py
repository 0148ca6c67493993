"""What `linear`, `variants` and `layers` share: Whisper's layers of RAVDESS.

Their flags and config, and a summary of rows that are compared over speakers.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from emojax import summary as summaries
from emojax.runtime import environment, files
from emojax.summary import Row, Summary, System
from experiments.adversary import study

SETTING = study.CORPORA["whisper"].label  # EmoBox's folds.


def begin(
  doc: str, seeds: int
) -> tuple[pathlib.Path, ml_collections.ConfigDict]:
  """The folder for results, and the config of `study` with all layers.

  Args:
    doc: of the program, whose first line is for `--help`.
    seeds: initialisations.
  """
  parser = argparse.ArgumentParser(description=doc.splitlines()[0])
  parser.add_argument("output", type=pathlib.Path)
  parser.add_argument("--ravdess", help="the folder of RAVDESS", required=True)
  parser.add_argument("--encoder", default="openai/whisper-base")
  parser.set_defaults(meld="", text="", seeds=seeds)
  arguments = parser.parse_args()
  config = study.config_of("whisper", arguments)
  config.data.audio_layers = ()
  return arguments.output, config


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
