"""What training for streams gains on RAVDESS, condition by condition.

python -m experiments.robustness_ravdess.study RAVDESS NOISE --output=FOLDER \
    [--encoder=openai/whisper-base] [--rows=log_mel,log_mel_live]

Whisper base, frozen, and a log-mel CNN from scratch, each trained on clips as
they are and with the augmentation of `configs/speech.py:live`: actors 01-10
teach and validate, 11-24 are tested, on one of the four clips that each says
alike. The backgrounds of training and those of the test are other recordings.
The CNN has every clip changed anew each time; for Whisper two changed copies of
each clip are encoded once, in its place. Both rows of an encoder see as many
batches. What is in FOLDER is not done again.
"""

import argparse
import csv
import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import soundfile

from configs import speech as configs
from emojax import markdown
from emojax import summary as summaries
from emojax.audio import augment
from emojax.audio.settings import Augmentation
from emojax.data import clips
from emojax.data.clips import Clips
from emojax.inference import robustness
from emojax.reports import robustness as reports
from emojax.summary import Summary, System
from emojax.systems.speech import to_float
from emojax.trainers import speech
from experiments import flags

# Of Speech Commands' backgrounds. White and pink noise teach: training has
# Gaussian noise as well, so that here they would be no test.
_NOISE = {
  "train": ("doing_the_dishes", "pink_noise", "white_noise"),
  "test": ("dude_miaowing", "exercise_bike", "running_tap"),
}
LABELS = {
  "whisper": "Whisper base",
  "whisper_live": "Whisper base for streams",
  "log_mel": "log-mel CNN",
  "log_mel_live": "log-mel CNN for streams",
}
_SPLIT = {
  "method": "speakers",
  "validation_speakers": "03,08",
  "test_speakers": ",".join(map(str, range(11, 25))),
}
_TESTED = ["01", "01"]  # Statement and repetition, in the name of a file.
_COPIES = 2
# Of as many batches: there are two copies of each clip.
_EPOCHS = {"whisper": 40, "whisper_live": 20, "log_mel": 20, "log_mel_live": 20}


def config_of(
  name: str, manifest: pathlib.Path, encoder: str, noise: pathlib.Path
) -> ml_collections.ConfigDict:
  """The config of a row of `_EPOCHS`."""
  is_whisper = name.startswith("whisper")
  config = configs.get_config("whisper" if is_whisper else "ravdess")
  config.title = f"RAVDESS, {name.replace('_', ' ')}"
  config.model.encoder = encoder if is_whisper else "log_mel"
  config.baselines, config.num_replicates = (), 1
  config.num_epochs = _EPOCHS[name]
  config.data.corpus, config.data.path = "manifest", str(manifest)
  config.split.update(_SPLIT)
  if name == "log_mel_live":
    config.augment = _augmentation(noise)
  return config


def _augmentation(noise: pathlib.Path) -> ml_collections.ConfigDict:
  fields = configs.get_config("live").augment
  fields.background_probability = 0.5
  fields.background_path = str(noise / "train")
  return fields


def split_noise(source: pathlib.Path, target: pathlib.Path) -> None:
  """Copies the recordings that teach and those that test, apart."""
  for part, names in _NOISE.items():
    (target / part).mkdir(parents=True, exist_ok=True)
    for name in names:
      (path,) = source.glob(f"{name}.*")
      shutil.copy(path, target / part)


def write_manifests(
  ravdess: str, folder: pathlib.Path, noise: pathlib.Path
) -> None:
  """The clips of the study, `plain.csv`; with changed copies, `copies.csv`."""
  config = configs.get_config("ravdess")
  config.data.path = ravdess
  config.split.update(_SPLIT)
  data, _ = clips.read(config)
  (split,) = data.splits.values()
  tested = [
    row
    for row in split.parts["test"]
    if pathlib.Path(data.path_U[row]).stem.split("-")[4:6] == _TESTED
  ]
  rows = [*split.parts["train"], *split.parts["validation"], *tested]
  plain = [_line(data, row, data.path_U[row]) for row in rows]
  others = plain[len(split.parts["train"]) :]
  _write(folder / "plain.csv", plain)
  (folder / "copies").mkdir(exist_ok=True)
  changed = []
  for row, number, samples in _copies(data, split.parts["train"], noise):
    path = folder / "copies" / f"{number}-{pathlib.Path(data.path_U[row]).stem}"
    soundfile.write(path.with_suffix(".wav"), samples, clips.SAMPLE_RATE)
    changed.append(_line(data, row, path.with_suffix(".wav")))
  _write(folder / "copies.csv", others + changed)


def _copies(
  data: Clips, rows: np.ndarray, noise: pathlib.Path
) -> Iterator[tuple[int, int, np.ndarray]]:
  """Each row, the number of the copy, and its samples."""
  augmentation = Augmentation.read(_augmentation(noise))
  change = jax.jit(
    functools.partial(augment.augment, settings=augmentation.settings)
  )
  size = int(data.num_samples_U[rows].max() * augmentation.lengthening) + 1
  for row in rows.tolist():
    samples = np.zeros((1, size), np.float32)
    length = np.array([data.num_samples_U[row]])
    samples[0, : length[0]] = to_float(data.audio[row])
    for number in range(1, _COPIES + 1):
      background = augmentation.noise.excerpt(
        np.random.default_rng([row, number]), size
      )
      key = jax.random.fold_in(jax.random.key(row), number)
      changed, kept = change(key, samples, length, background[None], None)
      yield row, number, np.asarray(changed)[0, : int(kept[0])]


def _line(data: Clips, row: int, path) -> tuple[str, str, str]:
  return (
    str(pathlib.Path(path).resolve()),
    data.classes[data.class_U[row]],
    data.speaker_U[row],
  )


def _write(path: pathlib.Path, lines: list[tuple[str, str, str]]) -> None:
  with open(path, "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows([("path", "label", "speaker"), *lines])


def sum_up(output: pathlib.Path) -> None:
  """Writes what the four runs have come to: JSON, a table and a figure."""
  found = {name: summaries.read(output / "tested" / name) for name in LABELS}
  rows = [
    dataclasses.replace(row, system=name)
    for name, summary in found.items()
    for row in summary.rows
  ]
  pairs = [(f"{name}_live", name) for name in ("whisper", "log_mel")]
  joined = dataclasses.replace(
    found["whisper"],
    title="RAVDESS, actors 11-24: training for streams",
    systems=tuple(System(name, label) for name, label in LABELS.items()),
    rows=tuple(rows),
    comparisons=summaries.compare(rows, pairs, ()),
    details={
      "noise": _NOISE,
      "epochs": _EPOCHS,
      "copies": _COPIES,
      "thresholds": {k: s.details["threshold"] for k, s in found.items()},
      "seconds": found["whisper"].details["seconds"],
    },
  )
  summaries.write(output / summaries.FILE, joined)
  (output / "table.md").write_text(table(joined), encoding="utf-8")
  named = {LABELS[name]: summary for name, summary in found.items()}
  reports.figure(output / "robustness.png", named, joined.title)


def table(summary: Summary) -> str:
  """Unweighted accuracy of each row, and what training for streams gains."""
  pairs = {}
  for one in summary.comparisons:
    pairs.setdefault((one.a, one.b), {})[one.setting] = one
  header = ["Condition"]
  for a, b in pairs:
    header += [LABELS[b], LABELS[a], "gain", "95 % over speakers", "p"]
  lines = [header]
  for setting in summary.settings:
    line = [setting]
    for (a, b), changes in pairs.items():
      both = (summary.row(setting, name) for name in (b, a))
      line += [
        markdown.percent(row.metrics["unweighted_accuracy"].mean)
        for row in both
      ]
      one = changes[setting]
      line += [f"{100 * one.difference:+.1f}"]
      line += [markdown.interval(one.ci95, "+.1f")]
      line += [markdown.p_value(one.p_value)]
    lines.append(line)
  return markdown.table(lines) + "\n"


def main() -> None:
  """Trains and tests what is not there yet, and sums up."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("data", help="the folder of RAVDESS")
  parser.add_argument("noise", type=pathlib.Path, help="background recordings")
  parser.add_argument("--encoder", default="openai/whisper-base")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  rows = flags.some_of(LABELS)
  parser.add_argument("--rows", type=rows, default=list(LABELS))
  arguments = parser.parse_args()
  output, noise = arguments.output, arguments.output / "noise"
  split_noise(arguments.noise, noise)
  if not (output / "copies.csv").exists():
    write_manifests(arguments.data, output, noise)
  for name in arguments.rows:
    manifest = "copies.csv" if name == "whisper_live" else "plain.csv"
    config = config_of(name, output / manifest, arguments.encoder, noise)
    run, tested = output / "runs" / name, output / "tested" / name
    speech.train(config, run)
    if not (tested / summaries.FILE).exists():
      found = robustness.measure(run, None, str(noise / "test"))
      reports.write(tested, found)
  folders = [output / "tested" / name / summaries.FILE for name in LABELS]
  if all(map(pathlib.Path.exists, folders)):
    sum_up(output)


if __name__ == "__main__":
  main()
