"""The section on speed, from the benchmarks' JSON."""

import statistics
from collections.abc import Mapping
from typing import Any

from emojax import markdown
from experiments.results import page


def text() -> str:
  """Times as fast as the other side, median and least of the turns."""
  body = [["What", "against", "times as fast", "least", "goal"]]
  body[0] += ["date", "machine"]
  for name, against, goal, file, path in _RATIOS:
    found = page.numbers(f"benchmarks/{file}.json")
    ratio = _at(found, path)
    of = found.get("setting", found)
    machine = of["device"].partition(",")[0].replace("(R)", "")
    machine = machine.replace(" Processor", "")
    numbers = [f"{ratio['median']:.2f}", f"{ratio['min']:.2f}", goal]
    body.append([name, against, *numbers, of["date"], machine])
  return "\n\n".join(
    [
      "## Speed",
      "Two CPU cores, float32; both sides take turns, each in a process of its "
      "own, median and least of the turns. "
      "[experiments/benchmarks](../experiments/benchmarks) has the commands, "
      "the seconds, how far the results of both sides agree, and why a goal "
      "was missed.",
      markdown.table(body, num_names=2),
      _missed(),
    ]
  )


def _missed() -> str:
  """What a goal was set for and not reached, of this page."""
  lines = ["## Aimed at and missed", ""]
  for name, against, goal, file, path in _RATIOS:
    ratio = _at(page.numbers(f"benchmarks/{file}.json"), path)["median"]
    if goal and ratio < float(goal):
      lines.append(
        f"- {name}, against {against}: {ratio:.2f} times as fast, not {goal}."
      )
  heard = page.numbers("benchmarks/live.json")["hubert_base_size"]["factor"]
  start = page.numbers("benchmarks/startup.json")["dann"]["warm_seconds"]
  adversary = page.study("adversary")
  c1_s, dann_s, speaker_norm = (
    page.estimate(
      adversary, adversary.settings[0], system, "unweighted_accuracy"
    ).mean
    for system in ("c1_s", "dann_s", "c1_speaker_norm")
  )
  share = (dann_s - c1_s) / (speaker_norm - c1_s)
  found, score = (
    page.estimate(
      page.study("rlps_s"),
      "30 % symmetric label noise; small CNN",
      system,
      "auc",
    ).mean
    for system in ("rlps_s", "out_of_fold")
  )
  lines += [
    f"- Listening with an encoder of HuBERT base's size: {heard:.2f} s for a "
    "second of sound, not 0.5.",
    "- DANN to its first step, a warm start: "
    f"{statistics.median(start):.2f} s, not 6.",
    "- An adversary instead of z-scores by speaker: "
    f"{100 * share:.0f} % of the gap, not 50.",
    "- RLPS-S, 30 % symmetric wrong labels, with a small CNN: an AUC of "
    f"{100 * found:.1f} %, not 95; {100 * score:.1f} % for the score that it "
    "is built from.",
  ]
  return "\n".join(lines)


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
    "HuBERT base, a clip of 1 s, forward",
    "transformers",
    "1",
    "encoders",
    "cases/3/times_faster",
  ),
  (
    "Whisper base, encoder, 30 s",
    "transformers",
    "1.2",
    "whisper",
    "cases/4/times_faster_than/pytorch",
  ),
  (
    "Whisper base, encoder, 4 s, both cropped",
    "transformers",
    "1.2",
    "whisper",
    "cases/7/times_faster_than/pytorch",
  ),
  (
    "Whisper base, transcription of 30 s",
    "transformers",
    "2",
    "whisper",
    "cases/5/times_faster_than/pytorch",
  ),
  (
    "the same",
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
    "a step of speech, last 2 layers of HuBERT",
    "transformers",
    "1.2",
    "speech",
    "steps/last 2 layers/times_faster",
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
