"""The classifier's steps and epochs against PyTorch's, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from configs import rlps as rlps_config
from emojax.data.noise import Part
from emojax.models.image_classifiers import Dcnn, Vgg
from emojax.systems import classifiers
from emojax.systems.classifiers import Classifier
from emojax.trainers import fit, rlps

TINY = Dcnn(3, (4,) * 6, hidden=5)


class Case:
  """A classifier, the examples that it learns from, and the config."""

  def __init__(self, classifier, part, **changes):
    self.config = rlps_config.get_config()
    with self.config.unlocked():
      self.config.update_from_flattened_dict(changes)
    self.part = part
    self.examples = fit.Examples(
      classifier,
      dict.fromkeys(("train", "validation", "test"), part),
      rlps.optimizer(self.config),
      self.config.batch_size,
    )

  def start(self, key):
    return self.examples.learner(self.examples.draw(key))

  def epoch(self, learner, retained_N, key, epoch):
    return rlps.classifier_epoch(
      self.config, self.examples, learner, retained_N, key, epoch
    )


def part_of(inputs, label_N):
  return Part(inputs, np.arange(len(label_N)), label_N.astype(np.int32))


def random_images(count, size=16, seed=0):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (count, size, size, 1), np.uint8)
  return part_of(images, rng.integers(0, 3, count))


def assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def lookup(num_examples):
  """A classifier whose only weights are the logits of each example."""

  def init(key, example):
    del key, example
    return {"params": {"logits": jnp.zeros((num_examples, 3))}}

  def apply(variables, number_B, train, key, weight_B=None):
    del train, key
    logits_BxK = variables["params"]["logits"][number_B]
    return logits_BxK, number_B[:, None].astype(jnp.float32), {}

  return Classifier("lookup", init, apply)


PLAIN = {
  "batch_size": 4,
  "optimizer.momentum": 0.0,
  "optimizer.weight_decay": 0.0,
  "optimizer.clip_value": 0.0,
  "optimizer.learning_rate": 0.5,
}


def lookup_case(label_N, classifier=None):
  count = len(label_N)
  part = part_of(np.arange(count), label_N)
  return Case(classifier or lookup(count), part, **PLAIN)


def change_of(case, retained_N, key=0, epoch=0):
  """How an epoch changes the logits of each example, which were all zero."""
  key = jax.random.key(key)
  learner, loss = case.epoch(case.start(key), retained_N, key, epoch)
  return np.asarray(learner.params["logits"]), loss


LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0])


@pytest.fixture(scope="module")
def thirteen():
  """Compiled once; batches of four."""
  return lookup_case(LABELS)


def test_whoever_is_retained_is_seen_once(thirteen):
  """Each example's step is that of the mean over its batch, Eq. (5)."""
  retained = np.arange(13) % 7 != 3  # 11 of 13: batches of 4, 4 and 3.
  change, loss = change_of(thirteen, retained)
  np.testing.assert_array_equal(change[~retained], 0)
  full = 0.5 * (np.eye(3)[LABELS] - 1 / 3)  # Of a batch of one.
  share = change[retained] / full[retained]
  batch_size = np.sort(1 / share.mean(1))
  np.testing.assert_allclose(share, share.mean(1, keepdims=True) + 0 * share)
  np.testing.assert_allclose(batch_size, [3] * 3 + [4] * 8, rtol=1e-5)
  assert loss == pytest.approx(np.log(3), rel=1e-5)


def test_every_epoch_and_run_has_its_own_order(thirteen):
  everything = np.ones(13, bool)  # Batches of 4, 4, 4 and 1.
  alone = [
    int(np.abs(change_of(thirteen, everything, *where)[0]).sum(1).argmax())
    for where in [(0, 0), (0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
  ]
  assert alone[0] == alone[1]
  assert len(set(alone)) > 2


def test_every_epoch_has_its_own_dropout():
  """Also where another learner has taken as many steps in another epoch."""
  plain = lookup(4)

  def apply(variables, item_B, train, key, weight_B=None):
    logits, features, changed = plain.apply(variables, item_B, train, key)
    return logits * jax.random.uniform(key), features, changed

  case = lookup_case(LABELS[:4], Classifier("random", plain.init, apply))
  size = [
    float(np.abs(change_of(case, np.ones(4, bool), *where)[0]).max())
    for where in [(0, 0), (0, 0), (0, 1), (1, 0)]
  ]
  assert size[0] == size[1]
  assert len(set(size)) == 3


def test_fewer_than_a_batch_and_nobody(thirteen):
  change, _ = change_of(thirteen, np.arange(13) == 5)
  expected = 0.5 * (np.eye(3)[2] - 1 / 3)
  np.testing.assert_allclose(change[5], expected, rtol=1e-5)
  np.testing.assert_array_equal(np.delete(change, 5, 0), 0)
  change, loss = change_of(thirteen, np.zeros(13, bool))
  np.testing.assert_array_equal(change, 0)
  assert loss == 0


@pytest.mark.parametrize(
  # As in the public repository's loop, for 80, 5 and 0.9.
  ("epoch", "power"),
  [(0, 0), (80, 0), (84, 0), (85, 1), (89, 1), (90, 2), (249, 33)],
)
def test_the_learning_rate_falls(thirteen, epoch, power):
  first = np.arange(13) < 4
  change, _ = change_of(thirteen, first, epoch=epoch)
  expected = 0.9**power * 0.5 / 4 * (np.eye(3)[LABELS[:4]] - 1 / 3)
  np.testing.assert_allclose(change[first], expected, rtol=1e-5)


def test_outputs_are_those_of_the_examples_in_their_order(thirteen):
  """Also where the last batch is filled up: 13 in batches of 4."""
  logits = np.random.default_rng(0).normal(size=(13, 3)).astype(np.float32)
  variables = thirteen.examples.place({"params": {"logits": logits}})
  found, number = thirteen.examples.predict(variables, "train")
  np.testing.assert_array_equal(found, logits)
  np.testing.assert_array_equal(number[:, 0], np.arange(13))
  record = rlps.validate(thirteen.examples, variables)
  accuracy = np.mean(logits.argmax(1) == LABELS)
  assert record["validation_weighted_accuracy"] == pytest.approx(accuracy)
  assert record["validation_confusion_matrix"].sum() == 13


@pytest.fixture(scope="module")
def dcnn():
  """Of eight images, six of which are retained; three epochs of one batch."""
  part = random_images(8)
  part.label_N[:3] = range(3)
  return Case(
    classifiers.of_images("DCNN", TINY),
    part,
    **{
      "batch_size": 8,
      "optimizer.learning_rate": 0.2,
      "optimizer.weight_decay": 0.1,
      "optimizer.clip_value": 0.02,
      "optimizer.decay_start": 0,
      "optimizer.decay_every": 1,
      "optimizer.decay_rate": 0.5,
    },
  )


RETAINED = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)


def three_epochs(case):
  key = jax.random.key(0)
  learner = case.start(key)
  start = jax.device_get(learner.params)
  losses = []
  for epoch in range(3):
    learner, loss = case.epoch(learner, RETAINED, key, epoch)
    losses.append(float(loss))
  return start, learner, losses


class TorchTiny(torch.nn.Module):
  """`TINY`, with its weights."""

  def __init__(self, params):
    super().__init__()
    weights = jax.tree.map(lambda w: torch.tensor(np.array(w)), params)
    self.weights = torch.nn.ParameterDict(
      {
        f"{layer}/{name}": torch.nn.Parameter(value)
        for layer, of_layer in weights.items()
        for name, value in of_layer.items()
      }
    )

  def forward(self, images):
    x = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1
    w = self.weights
    for index in range(6):
      kernel = w[f"conv_{index}/kernel"].permute(3, 2, 0, 1)
      bias = w[f"conv_{index}/bias"]
      x = torch.nn.functional.conv2d(x, kernel, bias, padding=1).relu()
      if index in (0, 1, 3, 5):
        x = torch.nn.functional.max_pool2d(x, 2)
    x = x.flatten(1)
    x = (x @ w["hidden_layer/kernel"] + w["hidden_layer/bias"]).relu()
    return x @ w["output/kernel"] + w["output/bias"]


def test_epochs_are_pytorchs_on_what_is_retained(dcnn):
  """Clipping, weight decay, momentum, and the rate of the public VGG19."""
  start, learner, losses = three_epochs(dcnn)
  theirs = TorchTiny(start)
  part = dcnn.part
  label = torch.tensor(part.label_N[RETAINED]).long()
  optimizer = torch.optim.SGD(
    theirs.parameters(), lr=0.2, momentum=0.9, weight_decay=0.1
  )
  expected = []
  for epoch in range(3):
    optimizer.param_groups[0]["lr"] = 0.2 * 0.5**epoch
    optimizer.zero_grad()
    logits = theirs(part.source[RETAINED])
    loss = torch.nn.functional.cross_entropy(logits, label)
    loss.backward()
    torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.02)
    optimizer.step()
    expected.append(loss.item())
  np.testing.assert_allclose(losses, expected, rtol=1e-4)
  for name, value in theirs.weights.items():
    layer, kind = name.split("/")
    np.testing.assert_allclose(
      learner.params[layer][kind],
      value.detach().numpy(),
      rtol=1e-3,
      atol=1e-5,
    )


def test_what_is_removed_has_no_influence(dcnn, monkeypatch):
  _, learner, losses = three_epochs(dcnn)
  images, label_N = dcnn.part.source.copy(), dcnn.part.label_N.copy()
  images[~RETAINED] = 255 - images[~RETAINED]
  label_N[~RETAINED] = (label_N[~RETAINED] + 1) % 3
  examples = dcnn.examples
  monkeypatch.setitem(examples._inputs, "train", examples.place(images))
  monkeypatch.setattr(examples, "label_N", examples.place(label_N))
  _, other, other_losses = three_epochs(dcnn)
  assert_equal(learner.variables, other.variables)
  assert losses == other_losses


@pytest.mark.parametrize("name", ["dcnn", "cnn"])
def test_what_fills_a_batch_up_has_no_influence(name, dcnn, monkeypatch):
  key, case = jax.random.key(0), dcnn
  if name == "cnn":
    case = Case(
      classifiers.of_images("CNN", Vgg(3, ((4, 1), (6, 2)))),
      dcnn.part,
      batch_size=8,
    )

  def after(*filler):
    index = np.array([[4, 1, 2, *filler]], np.int32)
    weight = np.array([[1, 1, 1, 0, 0, 0, 0, 0]], np.float32)
    monkeypatch.setattr(fit, "filled_batches", lambda *_: (index, weight))
    learner, loss = case.examples.epoch(case.start(key), np.arange(3), key)
    return learner.variables, loss

  assert_equal(after(0, 0, 0, 0, 0), after(7, 6, 5, 4, 3))


def test_vgg19s_statistics_change_and_are_kept():
  case = Case(
    classifiers.of_images("VGG19", Vgg(3, ((4, 1),) * 5)),
    random_images(6, size=32),
    batch_size=4,
  )
  key = jax.random.key(0)
  learner = case.start(key)
  before = jax.device_get(learner.variables)
  learner, _ = case.epoch(learner, np.ones(6, bool), key, 0)
  after = jax.device_get(learner.variables)
  for name, stats in after["batch_stats"].items():
    assert (stats["mean"] != before["batch_stats"][name]["mean"]).all()
  # Evaluation reads them, and leaves them alone.
  logits, _ = case.examples.predict(learner.variables, "train")
  assert_equal(after, jax.device_get(learner.variables))
  fresh = {**after, "batch_stats": before["batch_stats"]}
  others, _ = case.examples.predict(fresh, "train")
  assert np.abs(others - logits).max() > 1e-3
