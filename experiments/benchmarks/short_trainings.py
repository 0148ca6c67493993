"""Short trainings of the three studies; prints a digest of each one's end.

  python -m experiments.benchmarks.short_trainings [--tiny]

`gpu_parts.determinism` runs it twice and compares.
"""

import argparse
import json

import numpy as np
from absl import flags as absl_flags

from experiments.benchmarks import dann, rlps, speech
from experiments.benchmarks.gpu_parts import digest


def speech_round(tiny: bool) -> dict:
  """A round of the transformer "small" in bfloat16, and its validation.

  Tiny: of the log-mel classifier, which compiles sooner on a CPU.
  """
  encoder = "log_mel" if tiny else "small"
  config = speech.config_of(encoder, None)
  config.dtype = "float32" if tiny else "bfloat16"
  config.batch_size = 4 if tiny else 16
  training = speech.make_training(config, encoder, 12 if tiny else 480)
  study = training.study(0)
  state, record = study.round(study.init(), 0)
  losses = [np.asarray(record["emotion_loss"]).item()]
  return {"sha256": digest(state.learner.params), "losses": losses}


def rlps_epochs() -> dict:
  """Two epochs of Algorithm 1 with DCNN on 2,048 faces."""
  config = rlps.make_config()
  training = rlps.Emojax(config, rlps.make_part(config, 2048))
  losses = []
  for _ in range(2):
    training.select()
    losses.append(training.train(training.retained_N))
    training.extract()
    training.update()
  return {"sha256": digest(training.weights()), "losses": losses}


def dann_steps() -> dict:
  """An epoch of four runs of DANN side by side."""
  problem = dann.Problem(1)
  training = dann.Emojax(problem, 4)
  losses = [
    training.step(batch)["emotion_loss"][0].item()
    for batch in problem.plan.epoch(0)
  ]
  return {"sha256": digest(training.state), "losses": losses}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--tiny", action="store_true", help="the first alone")
  tiny = parser.parse_args().tiny
  absl_flags.FLAGS(["short_trainings"])
  print(json.dumps(speech_round(tiny)), flush=True)
  if not tiny:
    for training in (rlps_epochs, dann_steps):
      print(json.dumps(training()), flush=True)


if __name__ == "__main__":
  main()
