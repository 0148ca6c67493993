"""A step cut over several devices is the step of one."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
import jax, numpy as np, optax, chex
from emojax.runtime import sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.encoders.log_mel import LogMel
from emojax.systems.speech import SpeechSystem
from emojax.trainers import fit, speech

system = SpeechSystem(
  encoder=LogMel((4,)), classes=("a", "b", "c"), window_seconds=1.0,
  pooling="attention", weigh_layers=False, averaged_frames=1,
  hidden=4, dropout=0.0, num_domains=2)
recipe = speech.Recipe(
  system, system.model(), label_smoothing=0.1, reversal=0.5, ramp=True,
  num_steps=10)
tx = optax.sgd(0.1)
rng = np.random.default_rng(0)
batch = {
  "inputs": rng.integers(-9000, 9000, (8, 2000)).astype(np.int16),
  "length": np.array([2000, 1500] * 4, np.int32),
  "label": np.arange(8, dtype=np.int32) % 3,
  "domain": np.arange(8, dtype=np.int32) % 2,
  # The last device has nothing that counts.
  "weight": np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32),
}
extra = {"class_weight": np.array([0.5, 1, 2], np.float32), "responses": None}
trained = jax.jit(system.init)(jax.random.key(0))

def one_step(num_data):
  run = sharding.mapped(
    lambda learner, batch: speech.train_step(
      recipe, tx, learner, jax.random.key(1), {}, batch, extra),
    sharding.make_mesh(num_data), (REPLICATED, DATA), (REPLICATED, REPLICATED))
  learner, metrics = run(fit.init_learner(tx, {"params": trained}), batch)
  return jax.device_get((learner.params, metrics))

assert jax.device_count() == 4
chex.assert_trees_all_close(one_step(1), one_step(4), rtol=1e-4, atol=1e-6)
print("the same")
"""


def test_four_devices():
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    cwd=ROOT,
    env={**os.environ, "XLA_FLAGS": flags},
    capture_output=True,
    text=True,
    timeout=200,
  )
  assert done.stdout.strip() == "the same", done.stderr
