"""Algorithm 1 over several devices is that on one."""

import os

import jax
import numpy as np

from configs import rlps as rlps_config
from emojax.data.noise import NoisyDataset, Part
from emojax.models.image_classifiers import Dcnn
from emojax.summary import read_arrays
from emojax.systems import classifiers
from emojax.trainers import fit, rlps
from tests import processes


def two_epochs() -> dict[str, np.ndarray]:
  """What a pretraining epoch and two of the selector's come to."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (22, 16, 16, 1), np.uint8)
  label = np.arange(22, dtype=np.int32) % 3
  part = Part(images, np.arange(22), label)
  data = NoisyDataset(
    classes=("a", "b", "c"),
    parts={"train": part, "validation": part, "test": part},
    name_N=label.astype(str),
    demo=True,
    test_digest_N=label.astype(str),
  )
  config = rlps_config.get_config()
  config.num_epochs = 2
  # Four batches, and the last one has nothing for two of four devices.
  config.batch_size = 8
  config.policy.widths, config.policy.batch_size = (8,), 8
  config.policy.pretraining_epochs = 2
  classifier = classifiers.of_images("DCNN", Dcnn(3, (4,) * 6, hidden=5))
  examples = fit.Examples(
    classifier, data.parts, rlps.optimizer(config), config.batch_size
  )
  key = jax.random.key(0)
  learner = rlps.pretraining(config, examples, key).init()
  learner, _ = rlps.classifier_epoch(
    config, examples, learner, np.ones(22, bool), key, 0
  )
  variables = jax.device_get(learner.variables)
  training = rlps.SelectorTraining(config, data, examples, rlps.SYSTEMS["rlps"])
  study = training.study(
    *(key, variables, lambda: examples.predict(learner.variables, "train")),
    *(dict, [22] * 3, {}),
  )
  state, found = study.init(), {}
  for epoch in range(2):
    state, record = study.round(state, epoch)
    found |= {f"{name} {epoch}": value for name, value in record.items()}
  leaves = jax.tree.leaves((state.learner.variables, state.policy.params))
  found |= {f"weights {i}": values for i, values in enumerate(leaves)}
  found |= {"features": state.features_NxD, "odds": state.log_odds_N}
  return jax.device_get(found)


def write(argv: list[str]) -> None:
  assert jax.device_count() == 4
  np.savez(argv[1], **two_epochs())


def test_four_devices(tmp_path):
  path = tmp_path / "four.npz"
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
  environment = os.environ | {"XLA_FLAGS": flags}
  done = processes.run(write, [str(path)], environment)
  assert done.returncode == 0, done.stderr
  four = read_arrays(path)
  one = two_epochs()
  assert set(four) == set(one)
  assert 0 < one["retained 0"] < 22
  for name, value in one.items():
    np.testing.assert_allclose(
      four[name], value, rtol=1e-3, atol=1e-5, err_msg=name
    )
