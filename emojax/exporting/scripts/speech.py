"""Says which emotion recordings have: python run.py RECORDING …"""

import json
import pathlib
import sys

import numpy as np
import soundfile

FOLDER = pathlib.Path(__file__).parent
_BATCH = 16  # Windows that are computed at once: it bounds the memory.


def windows(num_samples: int, size: int) -> list[tuple[int, int]]:
  """The fewest windows that cover a recording, evenly."""
  if num_samples <= size:
    return [(0, num_samples)]
  count = -(-num_samples // size)
  starts = np.linspace(0, num_samples - size, count).astype(int)
  return [(start, start + size) for start in starts]


def mono(samples: np.ndarray) -> np.ndarray:
  """The mean of channels [S, C], or the first with sound where it has none."""
  mean, ranges = samples.mean(1), np.ptp(samples, axis=0)
  is_loud = ranges >= 2e-4  # As the system reads recordings.
  if is_loud.any() and np.ptp(mean) < 0.05 * ranges.max():
    return samples[:, is_loud.argmax()]
  return mean


def probabilities(call, card: dict, path: str) -> np.ndarray:
  """Of each class, of a recording of any length."""
  try:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
  except soundfile.LibsndfileError as error:
    sys.exit(f"{path}: {error}")
  least, most = card["bounds"]["samples"]
  if rate != card["sample_rate"]:
    sys.exit(f"{path}: {rate} Hz; resample it to {card['sample_rate']} Hz")
  if len(samples) < least:
    sys.exit(
      f"{path}: {len(samples)} samples, less than the {least} of a frame"
    )
  samples, found = mono(samples), []
  bounds = windows(len(samples), most)
  for first in range(0, len(bounds), _BATCH):
    some = bounds[first : first + _BATCH]
    audio = np.stack([samples[start:stop] for start, stop in some])
    lengths = np.full(len(audio), audio.shape[1])
    found.append(call(audio=audio, lengths=lengths)["logits"])
  logits = np.concatenate(found).mean(0)
  scores = np.exp((logits - logits.max()) / card["temperature"])
  return scores / scores.sum()


def main() -> None:
  """Prints a line for each recording: emotion, probability, path."""
  import program

  if not sys.argv[1:]:
    sys.exit(__doc__)
  card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
  call = program.load(FOLDER)
  for path in sys.argv[1:]:
    found = probabilities(call, card, path)
    print(f"{card['classes'][found.argmax()]}\t{found.max():.6f}\t{path}")


if __name__ == "__main__":
  main()
