"""The smallest trainings of the three studies that are whole: their commands.

What they train on lies in a folder: features, tones, and schematic faces.
"""

import pathlib

import numpy as np
import soundfile
from PIL import Image

from emojax.data import table as tables
from emojax.data.table import FeatureTable
from emojax.synthetic import schematic

_RATE = 16_000


def commands(folder: pathlib.Path, table: FeatureTable) -> dict[str, list[str]]:
  """By study, what `launch.py` is given; but for the folder of the run."""
  tables.save(folder / "table.npz", table)
  manifest = _tones(folder / "tones")
  faces = _faces(folder / "faces")
  return {
    "dann": [
      "--config=configs/dann.py",
      *("--config.data.corpus=table", f"--config.data.path={folder}/table.npz"),
      "--config.split.test_speakers=1M",
      *("--config.num_epochs=3", "--config.num_replicates=1"),
      "--config.optimizer.learning_rate=1e-2",
      *("--config.model.hidden=8", "--config.model.num_heads=2"),
      *("--config.baselines=()", "--config.probe_replicates=1"),
    ],
    "speech": [
      "--config=configs/speech.py",
      *("--config.data.corpus=manifest", f"--config.data.path={manifest}"),
      "--config.data.labels=happy,sad",
      "--config.data.buckets=(1.0,)",
      *("--config.num_epochs=8", "--config.num_replicates=1"),
      *("--config.batch_size=4", "--config.model.hidden=8"),
    ],
    "rlps": [
      "--config=configs/rlps.py:own",
      *(f"--config.data.path={faces}", "--config.data.image_size=(16, 16)"),
      "--config.data.labels=happy,surprised",
      "--config.systems=('rlps',)",
      *("--config.num_epochs=2", "--config.num_replicates=1"),
      *("--config.pretraining_epochs=2", "--config.batch_size=16"),
      "--config.optimizer.learning_rate=1e-3",
      "--config.model.widths=(8, 16, 16, 16, 16, 16)",
      "--config.model.hidden=32",
      *("--config.policy.widths=(8,)", "--config.policy.pretraining_epochs=2"),
    ],
  }


def launch_without_figures(argv: list[str]) -> None:
  """`launch.py`, but for what takes a third of a small training's time."""
  from emojax import training
  from emojax.reports import rlps, speech, study

  for reports in (rlps, speech, study):
    reports.files = lambda *_: {}
  training.main(argv, "")


def _tones(folder: pathlib.Path) -> pathlib.Path:
  """A manifest of four speakers whose pitch is the emotion, in noise."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  seconds = np.arange(_RATE) / _RATE
  lines = ["path,label,speaker"]
  for number in range(16):
    label, hertz = (("happy", 900), ("sad", 300))[number % 2]
    clip = 0.3 * np.sin(2 * np.pi * hertz * seconds)
    path = folder / f"{number}.wav"
    soundfile.write(path, clip + 0.1 * rng.normal(size=_RATE), _RATE)
    lines.append(f"{path},{label},s{number // 4}")
  manifest = folder / "tones.csv"
  manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
  return manifest


def _faces(folder: pathlib.Path) -> pathlib.Path:
  """A folder of images: schematic faces of two emotions."""
  parts = ["train"] * 32 + ["validation"] * 16 + ["test"] * 16
  emotions = ["happy", "surprised"] * (len(parts) // 2)
  images = schematic.render(emotions, seed=0)
  rows = zip(parts, emotions, images, strict=True)
  for number, (part, emotion, image) in enumerate(rows):
    path = folder / part / emotion / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
  return folder
