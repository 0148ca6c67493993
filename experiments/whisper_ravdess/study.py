"""RAVDESS on published splits: Whisper base, frozen and trained.

python -m experiments.whisper_ravdess.study RAVDESS --encoder=WHISPER \
    --output=FOLDER [--rows=frozen,last_2] [--split=ten_actors] …

What a row of `ROWS` leaves open is chosen anew in each fold, on its four
validation actors, with the first initialisation of each option. Then the option
is trained with all initialisations and tested once. Runs are kept in
FOLDER/runs, so that an interrupted study goes on, and rows may come from
several machines; the summary is of the rows that are asked for.
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from configs import speech as configs
from emojax import runs
from emojax.data import clips
from emojax.data.clips import Clips
from emojax.systems import untrained
from emojax.trainers import speech
from experiments import flags
from experiments.whisper_ravdess import summing_up, svm

_SPLITS = {
  "emobox": ("Whisper base on RAVDESS, EmoBox's folds", {}),
  "ten_actors": (
    "Whisper base on RAVDESS, actors 01-10 train and validate",
    {
      "split.method": "speakers",
      "split.validation_speakers": "03,08",
      "split.test_speakers": ",".join(map(str, range(11, 25))),
    },
  ),
}


class RowOf(NamedTuple):
  """A row of the table.

  Attributes:
    label: for people.
    classifier: its name for `untrained.make`; '': that of `config.model`.
    fixed: what the config says beyond `configs/speech.py:whisper`.
    options: what is chosen from.
  """

  label: str
  classifier: str
  fixed: Mapping[str, Any]
  options: Sequence[Mapping[str, Any]]


_HEAD = (
  {"model.pooling": "attention"},
  {"model.pooling": "attention", "batch_size": 16},
  {"model.pooling": "mean"},
)
_TRAINED = {
  "freeze_encoder": False,
  "num_epochs": 12,
  "data.buckets": (5.5,),
  "optimizer.encoder_learning_rate": 1e-4,
  "optimizer.learning_rate": 1e-3,
  "optimizer.pooling_learning_rate": 1e-4,
}
ROWS = {
  "frozen": RowOf("Whisper base, frozen", "", {}, _HEAD),
  "by_speaker": RowOf(
    "Whisper base, frozen, z-scored by speaker",
    untrained.BY_SPEAKER,
    {"baselines": (untrained.BY_SPEAKER,)},
    _HEAD,
  ),
  "last_2": RowOf(
    "Whisper base, last 2 layers trained",
    "",
    {**_TRAINED, "freeze_encoder": True, "unfreeze_last_n_layers": 2},
    ({},),
  ),
  "all": RowOf("Whisper base, all trained", "", _TRAINED, ({},)),
  "log_mel": RowOf(
    "log-mel CNN, from scratch",
    "",
    {
      "model.encoder": "log_mel",
      "model.averaged_frames": 1,
      "freeze_encoder": False,
      "num_epochs": 20,
      "batch_size": 16,
      "optimizer.learning_rate": 1e-3,
      "optimizer.pooling_learning_rate": 0.0,
    },
    ({},),
  ),
}


class Source(NamedTuple):
  """Where the data and the pretrained encoder are."""

  data: str
  encoder: str


class Chosen(NamedTuple):
  """A row on one fold: what was chosen, and its runs."""

  scores: list[float]  # Of each option on validation, of several.
  option: Mapping[str, Any]
  outcomes: list[runs.Outcome]


def config_of(
  source: Source, changes: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  """The config `whisper` with these changes, by dotted names."""
  config = configs.get_config("whisper")
  config.data.path, config.model.encoder = source
  config.baselines = ()
  config.update_from_flattened_dict(changes)
  return config


def train(
  config: ml_collections.ConfigDict,
  data: Clips,
  row: RowOf,
  of_runs: Sequence[runs.Run],
  folder: pathlib.Path,
) -> list[runs.Outcome]:
  """Runs of one row on one fold, as far as they are not there yet."""
  name = row.classifier or config.model.encoder
  grid = runs.Grid(folder, config)

  @functools.cache
  def training() -> speech.Training:
    classifier = untrained.make(config, name, data.classes)
    split = data.splits[of_runs[0].setting]
    return speech.Training(config, classifier, data, split, None)

  outcomes = []
  for run in of_runs:
    found = grid.finished(run)
    if found is None:
      study = training().study(run.seed)
      found = grid.train(run, study, training().num_rounds)
    outcomes.append(found)
  return outcomes


def choose(
  source: Source, data: Clips, name: str, fold: str, seeds: int, folder
) -> Chosen:
  """Trains each option once, and the best on validation with all seeds."""
  row, scores, best = ROWS[name], [], []
  for number, option in enumerate(row.options):
    changes = {**row.fixed, **option, "checkpoint_every": 1000}
    config = config_of(source, changes)
    where = folder / name / f"option-{number}"
    first = train(config, data, row, [runs.Run(fold, name, 0)], where)
    scores.append(first[0].figures[speech.reports.CURVE])
    best.append((config, where, option))
  config, where, option = best[int(np.argmax(scores))]
  of_runs = runs.grid([fold], [name], seeds)
  return Chosen(scores, option, train(config, data, row, of_runs, where))


def main() -> None:
  """Trains what is asked for and not there yet, and sums up."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("data", help="the folder of RAVDESS")
  parser.add_argument("--encoder", default="openai/whisper-base")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  every = [*ROWS, *svm.ROWS]
  parser.add_argument("--rows", type=flags.some_of(every), default=every)
  parser.add_argument("--split", choices=_SPLITS, default="emobox")
  parser.add_argument("--folds", help="such as 'fold 1,fold 2'; else all")
  parser.add_argument("--seeds", type=int, default=5)
  arguments = parser.parse_args()
  source = Source(arguments.data, arguments.encoder)
  title, split = _SPLITS[arguments.split]
  data, _ = clips.read(config_of(source, split))
  if arguments.folds:
    try:
      folds = flags.some_of(data.splits)(arguments.folds)
    except argparse.ArgumentTypeError as error:
      parser.error(f"argument --folds: {error}")
    kept = {fold: data.splits[fold] for fold in folds}
    data = dataclasses.replace(data, splits=kept)
  names = arguments.rows
  folder = arguments.output / "runs"
  found: dict[str, dict[str, Chosen]] = {name: {} for name in names}
  for fold in data.splits:
    for name in names:
      if name in svm.ROWS:
        of_fold = Chosen(*svm.choose(arguments.data, data, name, fold))
      else:
        of_fold = choose(source, data, name, fold, arguments.seeds, folder)
      found[name][fold] = of_fold
      print(f"{fold}, {name}: {of_fold.scores} {of_fold.option}", flush=True)
  labels = {name: row.label for name, row in ROWS.items()} | svm.ROWS
  summing_up.write(arguments.output, title, data, labels, found)


if __name__ == "__main__":
  main()
