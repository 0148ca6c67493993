"""A step cut over several devices is the step of one, all chance included."""

import functools
import os
import re

import chex
import jax
import numpy as np
import optax

from emojax.audio.settings import Settings
from emojax.encoders.log_mel import LogMel
from emojax.runtime import sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.systems.speech import SpeechSystem
from emojax.trainers import fit, speech_step
from tests import processes

SYSTEM = SpeechSystem(
  encoder=LogMel((64,)),
  classes=("a", "b", "c"),
  window_seconds=1.0,
  pooling="attention",
  weigh_layers=False,
  averaged_frames=1,
  hidden=4,
  dropout=0.3,
  num_domains=2,
)
SETTINGS = Settings(
  noise_probability=0.5, pitch_probability=0.5, reverberation_probability=0.5
)
TX = optax.sgd(0.1, momentum=0.9)
RNG = np.random.default_rng(0)
BATCH = {
  "inputs": RNG.integers(-9000, 9000, (8, 2000)).astype(np.int16),
  "length": np.array([2000, 1500] * 4, np.int32),
  "label": np.arange(8, dtype=np.int32) % 3,
  "domain": np.arange(8, dtype=np.int32) % 2,
  # The last device has nothing that counts.
  "weight": np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32),
}
EXTRA = {
  "class_weight": np.array([0.5, 1, 2], np.float32),
  "responses": RNG.normal(size=(3, 400)).astype(np.float32) / 20,
}


@functools.cache
def drawn():
  """The first weights."""
  return jax.jit(SYSTEM.init)(jax.random.key(0))


def one_step(num_data, mixup=0.4, shards=False):
  devices = np.array(jax.devices()[:num_data])[None]
  mesh = jax.sharding.Mesh(devices, ("replica", "data"))
  recipe = speech_step.Recipe(
    SYSTEM,
    SYSTEM.model(),
    SETTINGS,
    label_smoothing=0.1,
    mixup=mixup,
    reversal=0.5,
    ramp=True,
    num_steps=10,
    shards_parameters=shards,
  )
  learner = fit.init_learner(TX, {"params": drawn()})
  specs = sharding.spread_out(learner, mesh) if shards else REPLICATED
  step = functools.partial(speech_step.train_step, recipe, TX)
  run = sharding.compiled(step, mesh, (specs, REPLICATED))
  learner = sharding.place(learner, mesh, specs)
  more = sharding.place((jax.random.key(1), {}), mesh, REPLICATED)
  more += (
    sharding.place(BATCH, mesh, DATA),
    sharding.place(EXTRA, mesh, REPLICATED),
  )
  return run, learner, more


def two_steps(*args, **options):
  run, learner, more = one_step(*args, **options)
  for _ in range(2):
    learner, metrics = run(learner, *more)
  return jax.device_get((learner.params, metrics))


def exchanged(shards):
  run, learner, more = one_step(4, 0.0, shards)
  big = learner.params["encoder"]["conv_0"]["kernel"]
  assert big.addressable_shards[0].data.size * (4 if shards else 1) == big.size
  program = run.lower(learner, *more).compile().as_text()
  return set(
    re.findall(
      r" (all-\w+|collective-permute|reduce-scatter)(?:-start)?\(", program
    )
  )


def the_same(argv: list[str]) -> None:
  assert jax.device_count() == 8
  one = two_steps(1)
  chex.assert_trees_all_close(one, two_steps(8), rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(
    one, two_steps(4, shards=True), rtol=1e-4, atol=1e-5
  )
  # Gradients, and parameters that are cut: nothing else.
  assert exchanged(False) == {"all-reduce"}, exchanged(False)
  assert exchanged(True) == {"all-reduce", "all-gather"}, exchanged(True)


def test_eight_devices():
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
  environment = os.environ | {"XLA_FLAGS": flags}
  done = processes.run(the_same, [], environment)
  assert done.returncode == 0, done.stderr
