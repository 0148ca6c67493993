"""Speed of DANN training: emojax against PyTorch, in one run.

  python -m experiments.benchmarks.dann --output=dann.json

The shape is IEMOCAP's: 151 conversations of at most 110 utterances, 5,531
utterances, 6,373 + 1,024 features; Sessions 1-4 labelled, 20 labelled
conversations a step, so six steps an epoch. Weights are copied from emojax to
PyTorch and the first losses must agree. PyTorch, emojax with one run and emojax
with 20 have a process each. They are warmed up; then they take turns, an epoch
each, so that other load on the machine falls on all. The ratio is formed in
each turn. Features and labels are random: they do not change the work.
"""

import argparse
import collections
import functools
import glob
import gzip
import json
import re
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from emojax.data import batches
from emojax.data.conversations import Task
from emojax.models.dann import Dann
from emojax.runtime import sharding
from emojax.trainers import dann, optimizers
from experiments.benchmarks import measure

# Utterances and conversations of Sessions 1-5: Table 1 of the paper.
SESSIONS = ((1085, 28), (1023, 30), (1151, 32), (1031, 30), (1241, 31))
LONGEST = 110
WIDTHS = {"audio": 6373, "text": 1024}
EMOTIONS, SPEAKERS = 4, 10
BATCH_SIZE = 20
TOLERANCE = 1e-5  # Of the first losses.


def make_lengths(rng):
  """Lengths of all conversations, session by session."""
  lengths = []
  for total, count in SESSIONS:
    of_session = np.clip(rng.gamma(4, total / count / 4, count), 8, 100)
    of_session = of_session.astype(int)
    of_session[0] = LONGEST if not lengths else of_session[0]
    while gap := total - of_session.sum():
      index = rng.integers(1, count)
      moved = of_session[index] + np.sign(gap)
      of_session[index] = np.clip(moved, 8, LONGEST)
    lengths.extend(of_session.tolist())
  return np.array(lengths)


class Problem:
  """The random data set and the plan of its batches, in NumPy."""

  def __init__(self, num_epochs):
    rng = np.random.default_rng(0)
    lengths = make_lengths(rng)
    starts = np.cumsum([0, *lengths])
    self.dialogues = [
      np.arange(a, a + n) for a, n in zip(starts, lengths, strict=False)
    ]
    session = np.repeat(range(5), [count for _, count in SESSIONS])
    total = int(lengths.sum())
    labelled = np.repeat(session < 4, lengths)
    self.features = {
      name: rng.normal(size=(total, width)).astype(np.float32)
      for name, width in WIDTHS.items()
    }
    self.speaker = 2 * np.repeat(session, lengths) + rng.integers(0, 2, total)
    self.speaker = self.speaker.astype(np.int32)
    self.emotion = np.where(labelled, rng.integers(0, EMOTIONS, total), -1)
    self.emotion = self.emotion.astype(np.int32)
    self.plan = batches.Plan(
      self.dialogues, session < 4, session == 4, BATCH_SIZE, num_epochs, seed=0
    )


class Emojax:
  """Training of some runs with the trainer's own step."""

  def __init__(self, problem, num_runs):
    self._problem = problem
    model = Dann(EMOTIONS, SPEAKERS)
    transform = optimizers.adam_l2(1e-5)
    recipe = dann.Recipe(reversal=1.0, learning_rate=1e-4)
    recipes = dann.Recipe(*np.tile(np.float32(recipe)[:, None], num_runs))
    self._runs = jax.device_put((np.arange(num_runs), recipes))
    self._key = jax.random.key(0)
    task = Task(
      problem.features,
      problem.speaker,
      np.zeros_like(problem.speaker),
      problem.emotion,
      problem.emotion,
      np.float32(200 * problem.plan.num_steps),
    )
    self._task = jax.device_put(task)
    draw, start = (
      jax.jit(function, compiler_options=sharding.RUNS_ONCE)
      for function in (
        functools.partial(dann.draw_weights, model, WIDTHS),
        functools.partial(dann.start_runs, transform, False),
      )
    )
    seeds = self._runs[0]
    self.state = start(draw(seeds, self._key), seeds)
    step = jax.jit(
      functools.partial(dann.train_step, model, transform), donate_argnums=0
    )
    batch = problem.plan.epoch(0)[0]
    self.compiled = step.lower(*self._arguments(batch)).compile()

  def _arguments(self, batch):
    return (
      self.state, *self._runs, batch, self._task, self._key
    )  # fmt: skip

  def step(self, batch):
    """One step; returns the metrics."""
    batch = jax.device_put(batch)
    self.state, metrics = self.compiled(*self._arguments(batch))
    return metrics

  def epoch(self, epoch):
    """One epoch."""
    for batch in self._problem.plan.epoch(epoch):
      metrics = self.step(batch)
    jax.block_until_ready((self.state, metrics))

  def weights(self):
    """The parameters of the first run, in NumPy."""
    return jax.tree.map(lambda x: np.array(x[0]), self.state.params)

  def first_losses(self):
    """Of the first run in the first step, which is taken."""
    metrics = self.step(self._problem.plan.epoch(0)[0])
    return [metrics[n][0].item() for n in ("emotion_loss", "domain_loss")]

  def peak_memory(self):
    """Bytes that this process has had in memory at once, so far."""
    return measure.memory("VmHWM")

  def floor(self, repeats=5):
    """Seconds an epoch and run of the projections and their gradients."""
    num_utterances = self._problem.plan.shape.num_utterances
    kernels = [self.state.params["fusion"][name]["kernel"] for name in WIDTHS]
    inputs = [jnp.ones((num_utterances, width)) for width in WIDTHS.values()]

    @jax.jit
    def both_products(kernels):
      outputs = [
        jnp.einsum("rkd,nd->rkn", kernel, x)
        for kernel, x in zip(kernels, inputs, strict=True)
      ]
      return [
        jnp.einsum("rkn,nd->rkd", y, x)
        for y, x in zip(outputs, inputs, strict=True)
      ]

    jax.block_until_ready(both_products(kernels))
    seconds = []
    for _ in range(repeats):
      start = time.perf_counter()
      jax.block_until_ready(both_products(kernels))
      seconds.append(time.perf_counter() - start)
    return min(seconds) * self._problem.plan.num_steps / len(kernels[0])

  def profile(self, top=25):
    """Milliseconds of the operations of one step, the largest first."""
    batch = self._problem.plan.epoch(0)[0]
    with tempfile.TemporaryDirectory() as folder:
      with jax.profiler.trace(folder):
        jax.block_until_ready(self.step(batch))
      name = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)[0]
      with gzip.open(name) as file:
        events = json.load(file)["traceEvents"]
    total, calls = collections.Counter(), collections.Counter()
    for event in events:
      if event.get("ph") == "X":
        total[event["name"]] += event["dur"] / 1e3
        calls[event["name"]] += 1
    rows = []
    for match in re.finditer(
      r"^\s*(?:ROOT )?%?([\w.\-]+) = (\S+) (.*)$",
      self.compiled.as_text(),
      re.MULTILINE,
    ):
      name, shape, rest = match.groups()
      if name in total:
        source = re.search(r'op_name="([^"]*)"', rest)
        rows.append(
          {
            "milliseconds": round(total.pop(name), 2),
            "calls": calls[name],
            "operation": name,
            "shape": shape,
            "source": source[1] if source else "",
          }
        )
    return sorted(rows, key=lambda row: -row["milliseconds"])[:top]


class PyTorch:
  """The same training in PyTorch, one run."""

  def __init__(self, problem, params):
    from experiments.benchmarks import dann_pytorch  # Only where it runs.

    self._plan = problem.plan
    self._training = dann_pytorch.Training(
      params,
      problem.features,
      problem.emotion,
      problem.speaker,
      (EMOTIONS, SPEAKERS),
    )

  def first_losses(self):
    """Of the first step, which is taken."""
    losses = self._training.step(*unpack(self._plan.epoch(0)[0]))
    return [loss.item() for loss in losses]

  def epoch(self, epoch):
    """One epoch."""
    for batch in self._plan.epoch(epoch):
      self._training.step(*unpack(batch))


def unpack(batch):
  """The utterances of a packed batch in order, and conversation lengths."""
  count = int(batch.count)
  lengths = np.zeros(count, np.int64)
  row, _ = np.nonzero(batch.segment_BxT)
  position = batch.position_BxT[batch.segment_BxT > 0]
  segment = batch.segment_BxT[batch.segment_BxT > 0]
  # Utterances of a batch are in the order of rows: conversations are runs.
  assert (position == np.arange(count)).all()
  change = (np.diff(row) != 0) | (np.diff(segment) != 0)
  edges = np.r_[0, np.flatnonzero(change) + 1, count]
  lengths = np.diff(edges)
  return batch.utterances_N[:count], lengths


def side(make, num_epochs, *arguments):
  """A side on the problem, which each process draws for itself."""
  return make(Problem(num_epochs), *arguments)


def check(sides):
  """How far the first losses of emojax' sides are from PyTorch's, at most."""
  losses = {name: one.result("first_losses") for name, one in sides.items()}
  want = losses.pop("pytorch")
  # Of NumPy: Python's `max` may pass over a NaN.
  difference = float(np.max(np.abs(np.subtract(list(losses.values()), want))))
  print(f"first losses {want}, largest difference {difference:.1e}")
  if not difference <= TOLERANCE:  # NaN is no agreement.
    raise SystemExit("the first losses differ: not the same computation")
  return difference


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="JSON file to write")
  parser.add_argument("--epochs", type=int, default=8, help="turns measured")
  parser.add_argument(
    "--replicates", type=int, nargs="+", default=[1, 20], help="runs at once"
  )
  flags = parser.parse_args()
  start = functools.partial(measure.Process, side)
  num_epochs = flags.epochs + 1
  runs = {f"emojax, {n} at once": n for n in flags.replicates}
  ours = {name: start(Emojax, num_epochs, n) for name, n in runs.items()}
  params = next(iter(ours.values())).result("weights")
  sides = {"pytorch": start(PyTorch, num_epochs, params), **ours}
  difference = check(sides)

  for one in sides.values():
    one.result("epoch", 0)
  memory = {name: one.result("peak_memory") for name, one in ours.items()}
  seconds = {name: [] for name in sides}
  for epoch in range(1, num_epochs):
    for name, one in sides.items():
      took = one.seconds("epoch", epoch)
      seconds[name].append(took / runs.get(name, 1))
    print(
      epoch, {name: round(v[-1], 3) for name, v in seconds.items()}, flush=True
    )

  import torch

  result = {
    **measure.setting("torch"),
    "torch_threads": torch.get_num_threads(),
    "batch_shape": Problem(num_epochs).plan.shape._asdict(),
    "first_loss_difference": difference,
    "seconds_per_run_and_epoch": {
      name: measure.summary(v) for name, v in seconds.items()
    },
    "times_faster": {
      name: measure.ratios(seconds["pytorch"], seconds[name]) for name in ours
    },
    "peak_memory_bytes": memory,
    "projection_floor": {n: one.result("floor") for n, one in ours.items()},
    "profile_of_a_step": {n: one.result("profile") for n, one in ours.items()},
  }
  measure.write(result, flags.output)


if __name__ == "__main__":
  main()
