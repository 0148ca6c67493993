"""The classifier's steps and epochs against PyTorch's, and by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from configs import rlps as rlps_config
from emojax.models import image_classifiers
from emojax.models.image_classifiers import Dcnn, Vgg19
from emojax.trainers.rlps import classifiers
from emojax.trainers.rlps.classifiers import Classifier
from emojax.trainers.rlps.fitting import Fitting
from emojax.trainers.rlps.material import Part, as_it_is

TINY = Dcnn(3, (4,) * 6, hidden=5)


def make_config(**changes):
  config = rlps_config.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


def make_material(train, others=None):
  """Of parts whose truth is unknown."""
  others = train if others is None else others
  return as_it_is(
    classes=("a", "b", "c"),
    parts={"train": train, "validation": others, "test": others},
    name_N=np.arange(len(train.label_N)).astype(str),
    demo=True,
  )


def random_images(count, size=16, seed=0):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (count, size, size, 1), np.uint8)
  return Part(images, rng.integers(0, 3, (count, 1), np.int32))


def assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def lookup(num_items, num_examples=1):
  """A classifier whose only weights are the logits of each example."""

  def init(key, item):
    del key, item
    logits_IxExK = jnp.zeros((num_items, num_examples, 3))
    return {"params": {"logits": logits_IxExK}}

  def apply(variables, item_B, train, key):
    del train, key
    logits_BxK = variables["params"]["logits"][item_B].reshape(-1, 3)
    number_BxE = num_examples * item_B[:, None] + jnp.arange(num_examples)[None]
    return logits_BxK, number_BxE.reshape(-1, 1).astype(jnp.float32), {}

  return Classifier("lookup", init, apply)


PLAIN = {
  "batch_size": 4,
  "optimizer.momentum": 0.0,
  "optimizer.weight_decay": 0.0,
  "optimizer.clip_value": 0.0,
  "optimizer.learning_rate": 0.5,
}


def lookup_fitting(label_IxE, **changes):
  num_items, num_examples = label_IxE.shape
  part = Part(np.arange(num_items), label_IxE.astype(np.int32))
  return Fitting(
    make_config(**(PLAIN | changes)),
    lookup(num_items, num_examples),
    make_material(part),
  )


def change_of(fitting, retained_N, key=0, epoch=0):
  """How an epoch changes the logits of each example, which were all zero."""
  key = jax.random.key(key)
  learner = fitting.learner(fitting.draw(key))
  learner, loss = fitting.epoch(learner, retained_N, key, epoch)
  logits = np.asarray(learner.variables["params"]["logits"])
  return logits.reshape(-1, 3)[fitting.material.parts["train"].place_N], loss


LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0])[:, None]


def test_whoever_is_retained_is_seen_once():
  """Each example's step is that of the mean over its batch, Eq. (5)."""
  retained = np.arange(13) % 7 != 3  # 11 of 13: batches of 4, 4 and 3.
  change, loss = change_of(lookup_fitting(LABELS), retained)
  np.testing.assert_array_equal(change[~retained], 0)
  full = 0.5 * (np.eye(3)[LABELS[:, 0]] - 1 / 3)  # Of a batch of one.
  share = change[retained] / full[retained]
  batch_size = np.sort(1 / share.mean(1))
  np.testing.assert_allclose(share, share.mean(1, keepdims=True) + 0 * share)
  np.testing.assert_allclose(batch_size, [3] * 3 + [4] * 8, rtol=1e-5)
  assert loss == pytest.approx(np.log(3), rel=1e-5)


def test_every_epoch_and_run_has_its_own_order():
  fitting = lookup_fitting(LABELS)
  everything = np.ones(13, bool)  # Batches of 4, 4, 4 and 1.
  alone = [
    int(np.abs(change_of(fitting, everything, *where)[0]).sum(1).argmax())
    for where in [(0, 0), (0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
  ]
  assert alone[0] == alone[1]
  assert len(set(alone)) > 2


def test_every_epoch_has_its_own_dropout():
  """Also where another learner has taken as many steps in another epoch."""
  plain = lookup(4)

  def apply(variables, item_B, train, key):
    logits, features, changed = plain.apply(variables, item_B, train, key)
    return logits * jax.random.uniform(key), features, changed

  part = Part(np.arange(4), LABELS[:4].astype(np.int32))
  classifier = Classifier("random", plain.init, apply)
  fitting = Fitting(make_config(**PLAIN), classifier, make_material(part))
  size = [
    float(np.abs(change_of(fitting, np.ones(4, bool), *where)[0]).max())
    for where in [(0, 0), (0, 0), (0, 1), (1, 0)]
  ]
  assert size[0] == size[1]
  assert len(set(size)) == 3


def test_fewer_than_a_batch_and_nobody():
  fitting = lookup_fitting(LABELS)
  change, _ = change_of(fitting, np.arange(13) == 5)
  expected = 0.5 * (np.eye(3)[2] - 1 / 3)
  np.testing.assert_allclose(change[5], expected, rtol=1e-5)
  np.testing.assert_array_equal(np.delete(change, 5, 0), 0)
  change, loss = change_of(fitting, np.zeros(13, bool))
  np.testing.assert_array_equal(change, 0)
  assert loss == 0


@pytest.mark.parametrize(
  # As in the public repository's loop, for 80, 5 and 0.9.
  ("epoch", "power"),
  [(0, 0), (80, 0), (84, 0), (85, 1), (89, 1), (90, 2), (249, 33)],
)
def test_the_learning_rate_falls(epoch, power):
  change, _ = change_of(
    lookup_fitting(LABELS[:4]), np.ones(4, bool), epoch=epoch
  )
  expected = 0.9**power * 0.5 / 4 * (np.eye(3)[LABELS[:4, 0]] - 1 / 3)
  np.testing.assert_allclose(change, expected, rtol=1e-5)


def test_items_of_several_examples():
  """What is missing at the end of an item is nowhere."""
  label = np.array([[0, 1, -1], [2, -1, -1], [1, 2, 0], [0, 0, -1]])
  fitting = lookup_fitting(label, batch_size=3)
  retained = np.array([1, 0, 0, 1, 1, 0, 0, 1], bool)
  np.testing.assert_array_equal(fitting.label_N, [0, 1, 2, 1, 2, 0, 0, 0])
  change, _ = change_of(fitting, retained)
  np.testing.assert_array_equal(np.abs(change).max(1) > 0, retained)
  # Probabilities and features are those of the examples, in their order; a
  # feature's root mean square over them is one.
  logits = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
  variables = {"params": {"logits": logits}}
  features, probability = fitting.extract(fitting.place(variables))
  place = [0, 1, 3, 6, 7, 8, 9, 10]
  size = np.sqrt(np.mean(np.square(place)))
  np.testing.assert_allclose(features[:, 0], place / size, rtol=1e-6)
  expected = torch.tensor(logits.reshape(-1, 3)[place]).softmax(1).numpy()
  expected = expected[np.arange(8), fitting.label_N]
  np.testing.assert_allclose(probability, expected, rtol=1e-5)
  figures = fitting.validation(fitting.place(variables))
  predicted = logits.reshape(-1, 3)[place].argmax(1)
  accuracy = np.mean(predicted == np.asarray(fitting.label_N))
  assert figures["validation_total_accuracy"] == pytest.approx(accuracy)
  assert figures["validation_confusion_matrix"].sum() == 8


@pytest.fixture(scope="module")
def dcnn():
  """Of eight images, six of which are retained; three epochs of one batch."""
  config = make_config(
    **{
      "batch_size": 8,
      "optimizer.learning_rate": 0.2,
      "optimizer.weight_decay": 0.1,
      "optimizer.clip_value": 0.02,
      "optimizer.decay_start": 0,
      "optimizer.decay_every": 1,
      "optimizer.decay_rate": 0.5,
    }
  )
  part = random_images(8)
  part.label_IxE[:3, 0] = range(3)
  classifier = classifiers.of_images("DCNN", TINY)
  return Fitting(config, classifier, make_material(part))


RETAINED = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)


def three_epochs(fitting):
  key = jax.random.key(0)
  learner = fitting.learner(fitting.draw(key))
  start = jax.device_get(learner.variables)
  losses = []
  for epoch in range(3):
    learner, loss = fitting.epoch(learner, RETAINED, key, epoch)
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
  theirs = TorchTiny(start["params"])
  part = dcnn.material.parts["train"]
  label = torch.tensor(part.label_N[RETAINED]).long()
  optimizer = torch.optim.SGD(
    theirs.parameters(), lr=0.2, momentum=0.9, weight_decay=0.1
  )
  expected = []
  for epoch in range(3):
    optimizer.param_groups[0]["lr"] = 0.2 * 0.5**epoch
    optimizer.zero_grad()
    logits = theirs(part.inputs[RETAINED])
    loss = torch.nn.functional.cross_entropy(logits, label)
    loss.backward()
    torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.02)
    optimizer.step()
    expected.append(loss.item())
  np.testing.assert_allclose(losses, expected, rtol=1e-4)
  for name, value in theirs.weights.items():
    layer, kind = name.split("/")
    np.testing.assert_allclose(
      learner.variables["params"][layer][kind],
      value.detach().numpy(),
      rtol=1e-3,
      atol=1e-5,
    )


def test_what_is_removed_has_no_influence(dcnn, monkeypatch):
  _, learner, losses = three_epochs(dcnn)
  part = dcnn.material.parts["train"]
  images, label = part.inputs.copy(), part.label_IxE.copy()
  images[~RETAINED] = 255 - images[~RETAINED]
  label[~RETAINED] = (label[~RETAINED] + 1) % 3
  monkeypatch.setitem(dcnn._inputs, "train", dcnn.place(images))
  monkeypatch.setattr(dcnn, "_label_IxE", dcnn.place(label))
  _, other, other_losses = three_epochs(dcnn)
  assert_equal(learner.variables, other.variables)
  assert losses == other_losses


def test_what_fills_a_batch_up_has_no_influence(dcnn):
  key = dcnn.place(jax.random.key(0))

  def after(*filler):
    index = np.array([4, 1, 2, *filler], np.int32)
    weight = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.float32)
    learner, loss = dcnn._step(
      *(dcnn.learner(dcnn.draw(key)), dcnn._inputs["train"], dcnn._label_IxE),
      *(dcnn.place(np.ones((8, 1), np.float32)), index, weight),
      *(key, jnp.float32(0.1)),
    )
    return learner.variables, loss

  assert_equal(after(0, 0, 0, 0, 0), after(7, 6, 5, 4, 3))


def test_vgg19s_statistics_change_and_are_kept(monkeypatch):
  monkeypatch.setattr(image_classifiers, "_VGG19", ((4, 1),) * 5)
  part = random_images(6, size=32)
  fitting = Fitting(
    make_config(batch_size=4),
    classifiers.of_images("VGG19", Vgg19(3)),
    make_material(part),
  )
  key = jax.random.key(0)
  learner = fitting.learner(fitting.draw(key))
  before = jax.device_get(learner.variables)
  learner, _ = fitting.epoch(learner, np.ones(6, bool), key, 0)
  after = jax.device_get(learner.variables)
  for name, stats in after["batch_stats"].items():
    assert (stats["mean"] != before["batch_stats"][name]["mean"]).all()
  # Evaluation reads them, and leaves them alone.
  logits = fitting.logits(learner.variables, "train")
  assert_equal(after, jax.device_get(learner.variables))
  fresh = {**after, "batch_stats": before["batch_stats"]}
  assert np.abs(fitting.logits(fresh, "train") - logits).max() > 1e-3


class Pixels(nn.Module):
  """Its features are what it sees."""

  @nn.compact
  def __call__(self, images, train=False):
    features = images.reshape(len(images), -1)
    return nn.Dense(3)(features), {"features": features}


def test_random_views_in_training_and_ten_of_them_otherwise():
  part = random_images(8, size=6)
  classifier = classifiers.of_images("pixels", Pixels(), crop=4)
  images = jnp.asarray(part.inputs)
  key = jax.random.key(0)
  variables = classifier.init(key, images[:1])
  apply = jax.jit(classifier.apply, static_argnums=2)
  views = np.asarray(image_classifiers.ten_views(part.inputs / 127.5 - 1, 4))
  views = views.reshape(10, 8, 16)
  logits, features, changed = apply(variables, images, False, key)
  assert not changed
  np.testing.assert_allclose(features, views.mean(0), atol=1e-5)
  weights = jax.device_get(variables["params"]["Dense_0"])
  one_by_one = views @ weights["kernel"] + weights["bias"]
  np.testing.assert_allclose(logits, one_by_one.mean(0), atol=1e-5)
  _, seen, _ = apply(variables, images, True, key)
  _, others, _ = apply(variables, images, True, jax.random.key(1))
  assert (np.asarray(seen) != others).any()
  pixels = part.inputs / 127.5 - 1
  for image, view in zip(pixels, np.asarray(seen), strict=True):
    crops = [
      image[top : top + 4, left : left + 4][:, ::sense].ravel()
      for top, left, sense in itertools.product(range(3), range(3), (1, -1))
    ]
    assert min(np.abs(crop - view).max() for crop in crops) < 1e-5
