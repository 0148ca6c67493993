"""Cost of a training step of DANN's rivals, relative to C1.

  python -m experiments.benchmarks.rivals --output=rivals.json

Data and batches are those of `experiments.benchmarks.dann` (the shape of
IEMOCAP), the step is the trainer's own. All systems are warmed up; then they
take turns, a step each, so that other load on the machine falls on all, and the
ratio is formed in each turn.
"""

import argparse
import functools
import json
import pathlib

import jax
import numpy as np

from emojax.data.conversations import Task
from emojax.models import rivals
from emojax.models.dann import Dann
from emojax.runtime import allocator
from emojax.trainers import dann, optimizers
from experiments.benchmarks import measure
from experiments.benchmarks.dann import EMOTIONS, SPEAKERS, WIDTHS, Problem

_C1 = "c1"
_HIDDEN, _PARTIES = 100, 2


class Runs:
  """Some initialisations of one system, trained side by side."""

  def __init__(self, name: str, problem: Problem, num_runs: int):
    """Compiles the step for the problem's batches."""
    if name == _C1:
      model = Dann(EMOTIONS, SPEAKERS, _HIDDEN)
    else:
      model = rivals.make(name, EMOTIONS, _PARTIES, _HIDDEN, 0.0)
    transform = optimizers.adam_l2(1e-5)
    recipe = np.float32(dann.Recipe(reversal=0.0, learning_rate=1e-4))
    seeds_R = np.arange(num_runs)
    self._runs = seeds_R, dann.Recipe(*np.tile(recipe[:, None], num_runs))
    self._task = jax.device_put(
      Task(
        problem.features,
        problem.speaker,
        problem.speaker % 2,
        problem.emotion,
        problem.emotion,
        np.float32(200 * problem.plan.num_steps),
      )
    )
    self._key = jax.random.key(0)
    draw = jax.jit(functools.partial(dann.draw_weights, model, WIDTHS))
    start = jax.jit(functools.partial(dann.start_runs, transform, False))
    self._state = start(draw(seeds_R, self._key), seeds_R)
    step = functools.partial(dann.train_step, model, transform)
    self._step = jax.jit(step, donate_argnums=0)

  def step(self, batch) -> None:
    """One step of all runs, to its end."""
    state, losses = self._step(
      self._state, *self._runs, batch, self._task, self._key
    )
    self._state = jax.block_until_ready(state)
    assert np.isfinite(losses["emotion_loss"]).all()


def main() -> None:
  """Measures, prints and writes what was asked for."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--turns", type=int, default=12)
  parser.add_argument("--runs", type=int, nargs="+", default=[1, 5])
  arguments = parser.parse_args()
  allocator.keep_memory()  # As our programs do.
  problem = Problem(num_epochs=1)
  batches = jax.device_put(problem.plan.epoch(0))
  result = {"shape": problem.plan.shape._asdict(), "runs": {}}
  for num_runs in arguments.runs:
    systems = {
      name: Runs(name, problem, num_runs) for name in (_C1, *rivals.LABELS)
    }
    for one in systems.values():
      one.step(batches[0])
    seconds = {name: [] for name in systems}
    for turn in range(arguments.turns):
      for name, one in systems.items():
        batch = batches[turn % len(batches)]
        seconds[name].append(measure.seconds(one.step, batch))
    result["runs"][str(num_runs)] = {
      name: {
        "seconds_a_step": measure.summary(of_name),
        "times_c1": measure.ratios(of_name, seconds[_C1]),
      }
      for name, of_name in seconds.items()
    }
    for name, one in result["runs"][str(num_runs)].items():
      print(
        f"{num_runs} runs, {name}: {one['seconds_a_step']['median']:.3f} s, "
        f"{one['times_c1']['median']:.2f} times C1",
        flush=True,
      )
    result |= measure.setting("flax", "optax")
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
  main()
