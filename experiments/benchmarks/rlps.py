"""Speed of Algorithm 1 of RLPS: emojax against PyTorch, in one run.

  python -m experiments.benchmarks.rlps --output=rlps.json

The selection pass over a training set of RAF-DB's size, then whole epochs on
synthetic faces of 48x48 pixels: pass, training on what is retained, extraction
of all features, rewards and the policy's update. PyTorch's pass loops over the
images as the algorithm is printed; its CNN runs in channels_last, and on a GPU
all of it is compiled. Weights are copied from emojax to PyTorch; decisions and
losses must agree. Both sides train on the same images, those that emojax
retains, cut to whole batches. Each side is a process; they are warmed up, then
take turns part by part; a ratio is formed in each turn, so that other load on
the machine falls on both.
On a CPU the convolutions of `emojax.kernels.winograd` are also compared with
XLA's own.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from configs import rlps as rlps_config
from emojax.data.noise import Part
from emojax.kernels import winograd
from emojax.models import selector
from emojax.models.selector import PolicyNetwork
from emojax.systems import classifiers
from emojax.trainers import fit, rlps
from emojax.trainers.rlps import Policy
from experiments.benchmarks import measure

RAFDB = 12_271  # Its images for training and validation.
CLASSES = tuple("abcdefgh")
PARTS = ("select", "train", "extract", "update")


def make_config():
  """That of FERPlus: 48x48 grey pixels, DCNN, batches of 128."""
  config = rlps_config.get_config("ferplus")
  # Random images teach nothing: with a small rate nothing diverges either.
  config.optimizer.learning_rate = 1e-4
  # Nor does the selector come to remove everything.
  config.policy.learning_rate = 1e-6
  return config


def make_part(config, num_images):
  """Random faces with random labels."""
  rng = np.random.default_rng(0)
  shape = (*config.data.image_size, config.data.channels)
  images = rng.integers(0, 256, (num_images, *shape), dtype=np.uint8)
  label_N = rng.integers(0, len(CLASSES), num_images, dtype=np.int32)
  return Part(images, np.arange(num_images), label_N)


class Emojax:
  """The epoch of the study, part by part."""

  def __init__(self, config, part):
    self._config = config
    self._examples = fit.Examples(
      classifiers.of(classifiers.describe(config, CLASSES)),
      {"train": part},
      rlps.optimizer(config),
      config.batch_size,
    )
    self._key = self._examples.place(jax.random.key(0))
    self._learner = self._examples.learner(
      self._examples.draw(jax.random.key(0))
    )
    network = PolicyNetwork(tuple(config.policy.widths))
    state_1xK = jnp.zeros((1, 2 * config.model.hidden))
    params = network.init(self._key, state_1xK)["params"]
    optimizer = optax.adam(config.policy.learning_rate)
    self._policy = self._examples.place(Policy(params, optimizer.init(params)))
    self._epoch = 0

    def select(policy, features_NxD, key):
      return selector.random_pass(
        network, policy.params, features_NxD, key, False
      )

    def update(policy, selection, log_odds_N, key):
      retained_N, true_N = selection.retained_N, jax.nn.sigmoid(log_odds_N)
      reward_N = selector.rewards(selector.PROBABILITY, true_N, retained_N, 0.0)
      value_N = selector.action_values(
        reward_N, retained_N, config.policy.removed_credit
      )
      return rlps.update_policy(
        *(optimizer, network, policy, selection, value_N, key),
        config.policy.batch_size,
      )

    self._observe = jax.jit(selector.observe)
    self._select, self._update = jax.jit(select), jax.jit(update)
    self.extract()

  def weights(self):
    """Parameters of the classifier and of the policy, in NumPy."""
    params = (self._learner.params, self._policy.params)
    return jax.tree.map(np.array, params)

  def retained(self):
    """Whom the last `select` has retained."""
    return self.retained_N

  def select(self):
    """Algorithm 1, lines 4 to 12."""
    self._epoch += 1
    key = jax.random.fold_in(self._key, self._epoch)
    self._selection = self._select(self._policy, self._found[0], key)
    self.retained_N = np.asarray(self._selection.retained_N)

  def train(self, retained_N):
    """Line 13; returns the mean loss."""
    self._learner, loss = rlps.classifier_epoch(
      *(self._config, self._examples, self._learner),
      *(retained_N, self._key, self._epoch),
    )
    return jax.block_until_ready((self._learner, loss))[1].item()

  def extract(self):
    """Line 14."""
    outputs = self._examples.predict(self._learner.variables, "train")
    found = self._observe(
      *self._examples.place(outputs), self._examples.label_N
    )
    self._found = jax.block_until_ready(found)

  def update(self):
    """Line 15."""
    key = jax.random.fold_in(self._key, self._epoch)
    policy = self._update(self._policy, self._selection, self._found[1], key)
    self._policy = jax.block_until_ready(policy)


def with_xlas_convolutions(config, part):
  """Emojax without `emojax.kernels.winograd`, from here on in this process."""
  winograd.FEWEST_CHANNELS = np.inf
  return Emojax(config, part)


def draw_pass(config, num_images):
  """Features, order and random numbers of a pass."""
  rng = np.random.default_rng(0)
  features_NxD = np.maximum(
    rng.normal(size=(num_images, config.model.hidden)), 0
  )
  return (
    features_NxD.astype(np.float32),
    rng.permutation(num_images),
    rng.random(num_images, np.float32),
  )


class EmojaxPass:
  """The selection pass alone."""

  def __init__(self, config, num_images):
    policy = PolicyNetwork(tuple(config.policy.widths))
    state_1xK = jnp.zeros((1, 2 * config.model.hidden))
    self._params = policy.init(jax.random.key(0), state_1xK)["params"]
    self._select = jax.jit(functools.partial(selector.select, policy))
    drawn = draw_pass(config, num_images)
    self._arguments = jax.device_put((self._params, *drawn))

  def weights(self):
    """Of the policy, in NumPy."""
    return jax.tree.map(np.array, self._params)

  def select(self):
    """Who is retained."""
    selection = jax.block_until_ready(self._select(*self._arguments))
    return np.asarray(selection.retained_N)


def compare_passes(config, num_images, turns):
  """The selection pass alone, with the same numbers on both sides."""
  from experiments.benchmarks import rlps_pytorch  # Not everywhere.

  ours = measure.Process(EmojaxPass, config, num_images)
  theirs = measure.Process(
    rlps_pytorch.Pass, ours.result("weights"), draw_pass(config, num_images)
  )
  decisions = [side.result("select") for side in (theirs, ours)]
  different = float(np.mean(np.not_equal(*decisions)))
  if not different <= 1e-3:
    raise SystemExit(f"{100 * different:.1f} % are decided differently")
  times = [
    [side.seconds("select") for side in (theirs, ours)] for _ in range(turns)
  ]
  for side in (theirs, ours):
    side.close()
  return {
    "images": num_images,
    "decided_differently": different,
    **report("pass", np.transpose(times), goal=20),
  }


def compare_epochs(config, part, ours, turns, is_gpu):
  """Whole epochs; returns their part of the result."""
  from experiments.benchmarks import rlps_pytorch  # Not everywhere.

  theirs = measure.Process(
    rlps_pytorch.PyTorch, config, part, ours.result("weights")
  )
  # The same single batch twice: any order gives the same loss.
  first = np.arange(len(part)) < config.batch_size
  losses = [
    [side.result("train", first) for _ in "12"] for side in (theirs, ours)
  ]
  difference = float(np.abs(np.subtract(*losses) / losses[0]).max())
  if not difference <= (1e-2 if is_gpu else 1e-4):  # Nor is NaN.
    raise SystemExit(f"losses differ by {difference:.1e}: {losses}")

  retained, times = [], {name: ([], []) for name in PARTS}
  for _ in range(turns + 1):
    for name, values in times.items():
      arguments = ()
      if name == "train":
        retained_N = whole_batches(ours.result("retained"), config.batch_size)
        retained.append(int(retained_N.sum()))
        arguments = (retained_N,)
      for side, seconds in zip((theirs, ours), values, strict=True):
        seconds.append(side.seconds(name, *arguments))
  theirs.close()
  # The first turn warms up.
  times = {name: np.array(values)[:, 1:] for name, values in times.items()}
  times["epoch"] = sum(times.values())
  goal = 1.3 if is_gpu else 1.4
  return {
    "images": len(part),
    "retained": retained[1:],
    "loss_difference": difference,
    "parts": {
      name: report(name, values, goal if name == "epoch" else None)
      for name, values in times.items()
    },
  }


def compare_convolutions(config, part, ours, turns):
  """Training and extraction with XLA's own convolutions, and with ours."""
  everything_N = np.ones(len(part), bool)
  plain = measure.Process(with_xlas_convolutions, config, part)
  for side in (plain, ours):
    side.result("train", everything_N)  # Compiles.
  found = {}
  for name, arguments in (("train", (everything_N,)), ("extract", ())):
    times = [
      [side.seconds(name, *arguments) for side in (plain, ours)]
      for _ in range(turns)
    ]
    found[name] = report(name, np.transpose(times), None, ("xla", "winograd"))
  return found


def whole_batches(retained_N, size):
  """Forgets the last retained ones, so that all batches are full."""
  index_n = np.flatnonzero(retained_N)
  kept_N = np.zeros_like(retained_N)
  kept_N[index_n[: len(index_n) // size * size]] = True
  return kept_N


def report(name, times, goal, names=("pytorch", "emojax")):
  """Seconds of both sides, their ratio and its goal; also printed."""
  sides = dict(zip(names, map(list, times), strict=True))
  ratios = measure.ratios(*sides.values())
  print(
    f"{name:8}",
    *(f"{side} {np.median(v):.3f} s," for side, v in sides.items()),
    f"{ratios['median']:.2f} times faster",
    flush=True,
  )
  return {
    "seconds": {side: measure.summary(v) for side, v in sides.items()},
    "times_faster": ratios,
    "goal_times_faster": goal,
  }


def on_gpu(selection, epochs, ours, turns):
  """Goals in seconds, and against the classifier without a selector."""
  everything_N = np.ones(epochs["images"], bool)
  ours.result("train", everything_N)
  training = [ours.seconds("train", everything_N) for _ in range(turns)]
  epoch = epochs["parts"]["epoch"]["seconds"]["emojax"]["median"]
  return {
    "pass_seconds": selection["seconds"]["emojax"]["median"],
    "goal_pass_seconds": 0.5,
    "training_alone_seconds": measure.summary(training),
    "epoch_over_training_alone": epoch / float(np.median(training)),
    "goal_epoch_over_training_alone": 1.15,
  }


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="JSON file to write")
  parser.add_argument("--turns", type=int, default=5, help="epochs measured")
  parser.add_argument("--passes", type=int, default=9, help="passes measured")
  parser.add_argument(
    "--pass_images", type=int, default=RAFDB, help="images of a pass"
  )
  parser.add_argument(
    "--images", type=int, help="of an epoch; 1,024, or RAF-DB's on a GPU"
  )
  flags = parser.parse_args()

  import torch

  is_gpu = torch.cuda.is_available()
  config = make_config()
  selection = compare_passes(config, flags.pass_images, flags.passes)
  part = make_part(config, flags.images or (RAFDB if is_gpu else 1024))
  ours = measure.Process(Emojax, config, part)
  epochs = compare_epochs(config, part, ours, flags.turns, is_gpu)
  result = {
    **measure.setting("flax", "torch"),
    "torch_threads": torch.get_num_threads(),
    "batch_size": config.batch_size,
    "pass": selection,
    "epoch": epochs,
  }
  # On a GPU there is one kind of convolution.
  if is_gpu:
    result["gpu"] = on_gpu(selection, epochs, ours, flags.turns)
  else:
    result["convolutions"] = compare_convolutions(config, part, ours, 3)
  measure.write(result, flags.output)


if __name__ == "__main__":
  main()
