"""The section on speed, from the benchmarks' JSON."""

from collections.abc import Mapping
from typing import Any

from emojax import markdown
from experiments.results import page


def text() -> str:
  """Times as fast as the other side, median and least of the turns."""
  body = [["What", "against", "times as fast", "least", "goal", "date"]]
  for name, against, goal, file, path in _RATIOS:
    found = page.numbers(f"benchmarks/{file}.json")
    ratio = _at(found, path)
    date = found.get("date") or found["setting"]["date"]
    numbers = [f"{ratio['median']:.2f}", f"{ratio['min']:.2f}", goal, date]
    body.append([name, against, *numbers])
  return "\n\n".join(
    [
      "## Speed",
      "Two CPU cores, float32; both sides take turns in one process or in two, "
      "median and least of the turns. "
      "[experiments/benchmarks](../experiments/benchmarks) has the commands, "
      "the seconds, how far the results of both sides agree, what was aimed at "
      "and why it was missed.",
      markdown.table(body, num_names=2),
    ]
  )


# What, against whom, the goal, the file, and where in it the ratio is.
_RATIOS = (
  (
    "DANN, a run and epoch at IEMOCAP's size",
    "PyTorch",
    "2.5",
    "dann",
    "times_faster/emojax, 1 at once",
  ),
  (
    "the same, 20 runs at once",
    "PyTorch",
    "3.2",
    "dann",
    "times_faster/emojax, 20 at once",
  ),
  (
    "HuBERT base, four clips of 5 s, forward",
    "transformers",
    "1.25",
    "encoders",
    "cases/0/times_faster",
  ),
  (
    "WavLM base, the same",
    "transformers",
    "",
    "encoders",
    "cases/1/times_faster",
  ),
  (
    "HuBERT base, forward and backward",
    "transformers",
    "1.1",
    "encoders",
    "cases/2/times_faster",
  ),
  (
    "Whisper base, encoder, 30 s",
    "transformers",
    "1.2",
    "whisper",
    "cases/4/times_faster_than/pytorch",
  ),
  (
    "Whisper base, transcription of 30 s",
    "faster-whisper",
    "0.8",
    "whisper",
    "cases/5/times_faster_than/faster-whisper",
  ),
  (
    "augmentation of a clip of 5 s, one core",
    "audiomentations",
    "3",
    "augment",
    "cases/0/times_faster",
  ),
  (
    "a step of speech, HuBERT frozen",
    "transformers",
    "1.2",
    "speech",
    "steps/frozen/times_faster",
  ),
  (
    "a step of speech, all of HuBERT",
    "transformers",
    "1.2",
    "speech",
    "steps/all layers/times_faster",
  ),
  (
    "RLPS, selection pass over 12,271 images",
    "PyTorch",
    "20",
    "rlps",
    "pass/times_faster",
  ),
  (
    "RLPS, an epoch",
    "PyTorch",
    "1.4",
    "rlps",
    "epoch/parts/epoch/times_faster",
  ),
)


def _at(found: Mapping[str, Any], path: str) -> Any:
  for step in path.split("/"):
    found = found[int(step) if step.isdigit() else step]
  return found
