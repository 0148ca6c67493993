"""Exported systems of speech: how equal they are to the system, and how large.

  python -m experiments.benchmarks.export RUN RUN … --clips=RAVDESS \
      --output=experiments/benchmarks/export.json

Each run is exported in both formats. Clips, filled up in batches, go through
the system and through the program that its own script loads.
"""

import argparse
import pathlib
import runpy
import tempfile

import numpy as np
from scipy import special

from emojax.audio import io
from emojax.exporting import export
from emojax.runtime import walk
from emojax.systems import stored
from experiments.benchmarks import measure

SIZE = 5  # Of a batch.
NAMES = ("model", "weigh")  # How the large files begin.


def batches(folder: str, count: int, window: int) -> list[tuple]:
  """float32 [B, S] and lengths [B] of clips spread over a corpus."""
  paths = walk.find(folder, io.SUFFIXES).paths
  paths = paths[:: max(1, len(paths) // count)][:count]
  read = [io.read(path, 16_000)[:window] for path in paths]
  found = []
  for first in range(0, count, SIZE):
    part = read[first : first + SIZE]
    lengths = np.array([len(samples) for samples in part], np.int32)
    audio = np.zeros((len(part), window), np.float32)
    for row, samples in zip(audio, part, strict=True):
      row[: len(samples)] = samples
    found.append((audio, lengths))
  return found


def compare(call, system, params, clips) -> dict[str, float]:
  """The largest differences from the system, and its largest logit."""
  logits, probabilities, largest = [], [], []
  for audio, lengths in clips:
    expected = np.asarray(system.forward(params, audio, lengths)[0], float)
    found = call(audio=audio, lengths=lengths)
    scores = special.softmax(expected / system.temperature, axis=1)
    logits.append(np.abs(found["logits"] - expected).max())
    probabilities.append(np.abs(found["probabilities"] - scores).max())
    largest.append(np.abs(expected).max())
  return {
    "clips": sum(len(lengths) for _, lengths in clips),
    "largest_logit": float(max(largest)),
    "difference_of_logits": float(max(logits)),
    "difference_of_probabilities": float(max(probabilities)),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("runs", nargs="+")
  parser.add_argument("--clips", required=True)
  parser.add_argument("--count", type=int, default=40)
  parser.add_argument("--output", required=True)
  given = parser.parse_args()
  found = {"setting": measure.setting("onnx", "onnxruntime"), "systems": {}}
  for run in given.runs:
    system, params = stored.load(run)
    clips = batches(given.clips, given.count, system.window_samples)
    results = found["systems"][pathlib.Path(run).name] = {}
    for format_ in export.FORMATS:
      with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder, "out")
        export.export(run, target, format_)
        call = runpy.run_path(str(target / "program.py"))["load"](target)
        sizes = {path.name: path.stat().st_size for path in target.iterdir()}
        results[format_] = {
          "bytes": {n: sizes[n] for n in sorted(sizes) if n[:5] in NAMES},
          **compare(call, system, params, clips),
        }
      print(run, format_, results[format_], flush=True)
  measure.write(found, given.output)


if __name__ == "__main__":
  main()
