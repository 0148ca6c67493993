"""Image classifiers against PyTorch's with the same weights; views by hand."""

import itertools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from emojax.models import image_classifiers
from emojax.models.image_classifiers import Dcnn, Vgg
from emojax.systems import faces
from experiments.rlps_s.small_cnn import SmallCnn

# As published, with "M" for a pooling.
VGG19 = [64] * 2 + ["M"] + [128] * 2 + ["M"] + [256] * 4 + ["M"]
VGG19 += ([512] * 4 + ["M"]) * 2
CNN = [32] * 2 + ["M"] + [64] * 2 + ["M"] + [128] * 2 + ["M", 256, 256, "M"]
NARROW = ((4, 2), (5, 2), (6, 4), (7, 4), (8, 4))
NARROW_LAYERS = [4, 4, "M", 5, 5, "M", *[6] * 4, "M", *[7] * 4, "M", *[8] * 4]
NARROW_LAYERS += ["M"]


class TorchVgg(torch.nn.Module):
  """The public repository's, but for the number of features and dropout.

  `layers` are widths, and "M" for a pooling.
  """

  def __init__(self, layers, channels, num_classes, pixels=1):
    super().__init__()
    modules = []
    for width in layers:
      if width == "M":
        modules.append(torch.nn.MaxPool2d(2, 2))
        continue
      modules += [
        self.convolution(len(modules), channels, width),
        torch.nn.BatchNorm2d(width),
        torch.nn.ReLU(),
      ]
      channels = width
    self.features = torch.nn.Sequential(*modules)
    self.classifier = torch.nn.Linear(channels * pixels, num_classes)

  def convolution(self, index, channels, width):
    return torch.nn.Conv2d(channels, width, 3, padding=1)

  def forward(self, x):
    # Ours flattens height, width, channels in this order.
    features = self.features(x).permute(0, 2, 3, 1).flatten(1)
    return self.classifier(features), features


class TorchCnn(TorchVgg):
  """Its first convolution is of 5 x 5 pixels, in steps of two."""

  def convolution(self, index, channels, width):
    if index:
      return super().convolution(index, channels, width)
    return torch.nn.Conv2d(channels, width, 5, stride=2, padding=2)


class TorchDcnn(torch.nn.Module):
  """Fig. 3: six convolutions, pooled after the first, second, fourth, sixth."""

  def __init__(self, widths, channels, num_pixels, hidden, num_classes):
    super().__init__()
    modules = []
    for index, width in enumerate(widths):
      modules += [
        torch.nn.Conv2d(channels, width, 3, padding=1),
        torch.nn.ReLU(),
      ]
      if index in (0, 1, 3, 5):
        modules.append(torch.nn.MaxPool2d(2))
      channels = width
    self.features = torch.nn.Sequential(*modules)
    self.hidden = torch.nn.Linear(channels * num_pixels, hidden)
    self.classifier = torch.nn.Linear(hidden, num_classes)

  def forward(self, x):
    # Ours flattens height, width, channels in this order.
    x = self.features(x).permute(0, 2, 3, 1).flatten(1)
    features = self.hidden(x).relu()
    return self.classifier(features), features


def random_like(shapes, seed=0):
  """Variables of these shapes: nothing is at its neutral value."""
  rng = np.random.default_rng(seed)

  def draw(path, shape):
    name = path[-1].key
    values = rng.normal(size=shape.shape)
    if name in ("var", "scale"):
      values = 0.5 + rng.random(shape.shape)
    if name == "kernel":
      values *= np.sqrt(2 / np.prod(shape.shape[:-1]))
    return jnp.asarray(values, shape.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def copy_to_torch(variables, model):
  """Puts our weights into PyTorch's layers, one after the other."""
  params, stats = variables["params"], variables.get("batch_stats", {})
  convs = sorted(name for name in params if name.startswith("conv"))
  norms = sorted(name for name in params if name.startswith("norm"))
  dense = [name for name in ("hidden_layer", "output") if name in params]

  def set_(target, value):
    target.data = torch.tensor(np.array(value))

  for kind, names in (
    (torch.nn.Conv2d, convs),
    (torch.nn.BatchNorm2d, norms),
    (torch.nn.Linear, dense),
  ):
    modules = [m for m in model.modules() if isinstance(m, kind)]
    for name, module in zip(names, modules, strict=True):
      ours = params[name]
      set_(module.bias, ours["bias"])
      if kind is torch.nn.Conv2d:
        set_(module.weight, ours["kernel"].transpose(3, 2, 0, 1))
      elif kind is torch.nn.Linear:
        set_(module.weight, ours["kernel"].T)
      else:
        set_(module.weight, ours["scale"])
        set_(module.running_mean, stats[name]["mean"])
        set_(module.running_var, stats[name]["var"])


def run_torch(model, images):
  """Logits and features."""
  images = torch.tensor(np.array(images)).permute(0, 3, 1, 2)
  with torch.no_grad():
    return [values.numpy() for values in model(images)]


def assert_same(ours, theirs):
  logits, out = ours
  expected, features = theirs
  np.testing.assert_allclose(logits, expected, atol=2e-4)
  np.testing.assert_allclose(out["features"], features, atol=2e-4)
  assert logits.dtype == out["features"].dtype == jnp.float32


def test_dcnn_is_pytorchs():
  widths = (4, 5, 6, 7, 8, 9)
  model = Dcnn(3, widths, hidden=10)
  images = np.random.default_rng(0).uniform(-1, 1, (3, 19, 35, 2))
  images = images.astype(np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)
  variables = random_like(shapes)
  # 19 -> 9 -> 4 -> 2 -> 1 high, 35 -> 17 -> 8 -> 4 -> 2 wide.
  theirs = TorchDcnn(widths, 2, 2, 10, 3)
  copy_to_torch(variables, theirs)
  expected = run_torch(theirs, images)
  assert_same(jax.jit(model.apply)(variables, images), expected)
  half = Dcnn(3, widths, hidden=10, dtype=jnp.bfloat16)
  logits, out = jax.jit(half.apply)(variables, images)
  assert logits.dtype == out["features"].dtype == jnp.float32
  scale = np.abs(expected[0]).max()
  np.testing.assert_allclose(logits, expected[0], atol=0.05 * scale)


def beside_pytorchs(model, theirs, shape):
  """Our variables, PyTorch's module with them, and images."""
  images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)
  variables = random_like(shapes)
  copy_to_torch(variables, theirs)
  return model, variables, theirs, images


def narrow_vgg19():
  """Of a few channels."""
  theirs = TorchVgg(NARROW_LAYERS, 1, 3)
  return beside_pytorchs(Vgg(3, NARROW), theirs, (6, 33, 32, 1))


def cnn():
  theirs = TorchVgg(CNN, 1, 3)
  return beside_pytorchs(faces.cnn(3, dropout=0.5), theirs, (2, 16, 17, 1))


def small_cnn(height, width, pixels):
  """With a grid of so many pixels at its end."""
  theirs = TorchCnn([32, "M", 64, "M", 192, "M"], 2, 3, pixels)
  return beside_pytorchs(SmallCnn(3), theirs, (2, height, width, 2))


@pytest.mark.parametrize(
  ("make", "shape"),
  [
    (narrow_vgg19, ()),
    (cnn, ()),
    (small_cnn, (15, 16, 1)),
    (small_cnn, (44, 44, 4)),
    (small_cnn, (48, 33, 6)),
  ],
)
def test_batch_normalised_cnns_are_pytorchs(make, shape):
  model, variables, theirs, images = make(*shape)
  theirs.eval()
  ours = jax.jit(model.apply)(variables, images)
  assert_same(ours, run_torch(theirs, images))


def test_pooled_maps_are_dropped_in_training():
  """A half of the last block's, and the others count twice."""
  images = np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 1))
  images = images.astype(np.float32)

  def features(map_dropout):
    model = Vgg(3, ((4, 1),), map_dropout=map_dropout)
    variables = model.init(jax.random.key(0), images)
    (_, out), _ = model.apply(
      variables,
      images,
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": jax.random.key(1)},
    )
    return np.asarray(out["features"])

  whole, found = features(0.0), features(0.5)
  kept = found != 0
  np.testing.assert_allclose(found[kept], 2 * whole[kept], rtol=1e-6)
  assert 0.4 < kept[whole > 0].mean() < 0.6


def whose_logits_are_the_features(model, variables):
  """The same module and variables, but for the dense layer."""
  width = len(variables["params"]["output"]["kernel"])
  output = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
  params = {**variables["params"], "output": output}
  return model.clone(num_classes=width), {**variables, "params": params}


@pytest.mark.parametrize(
  ("make", "shape", "rate"),
  [(narrow_vgg19, (), 0.5), (small_cnn, (20, 33, 2), 0.25)],
)
def test_they_learn_the_statistics_that_pytorchs_do(make, shape, rate):
  model, variables, theirs, images = make(*shape)
  norms = [m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)]
  counts = []  # Of what each averages over.
  for norm in norms:
    norm.register_forward_hook(lambda _, x, y: counts.append(y[:, 0].numel()))
  theirs.train()
  model, variables = whose_logits_are_the_features(model, variables)
  (dropped, out), changed = jax.jit(
    lambda variables, images: model.apply(
      variables,
      images,
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": jax.random.key(0)},
    )
  )(variables, images)
  _, features = run_torch(theirs, images)
  np.testing.assert_allclose(out["features"], features, atol=2e-4)
  # Some of them are dropped, and the others count so much more.
  stays = dropped != 0
  np.testing.assert_allclose(
    (1 - rate) * dropped[stays], out["features"][stays], rtol=1e-6
  )
  assert abs(stays[features > 0.1].mean() - 1 + rate) < 0.3
  before, after = variables["batch_stats"], changed["batch_stats"]
  for name, norm, count in zip(sorted(after), norms, counts, strict=True):
    np.testing.assert_allclose(
      after[name]["mean"], norm.running_mean.numpy(), rtol=1e-3, atol=1e-4
    )
    # PyTorch divides the variance it keeps by one less.
    kept = 0.9 * np.asarray(before[name]["var"])
    change = norm.running_var.numpy() - kept
    expected = kept + change * (count - 1) / count
    np.testing.assert_allclose(
      after[name]["var"], expected, rtol=1e-3, atol=1e-4
    )


def count(shapes) -> int:
  return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))


def shapes_of(model, *shape):
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), images)


def test_numbers_of_parameters():
  with torch.device("meta"):
    public = TorchVgg(VGG19, 3, 7)
  expected = sum(weight.numel() for weight in public.parameters())
  for size in (44, 48):
    found = shapes_of(Vgg(7), size, size, 3)
    assert count(found) == expected == 20_038_983
  for size, channels, pixels in ((100, 3, 36), (48, 1, 9)):
    widths = (channels, 64, 128, 256, 256, 512, 512)
    convolutions = sum(
      9 * one * two + two for one, two in itertools.pairwise(widths)
    )
    dense = (512 * pixels + 1) * 128 + (128 + 1) * 7
    found = shapes_of(Dcnn(7), size, size, channels)
    assert count(found) == convolutions + dense
  assert set(flax.traverse_util.flatten_dict(found)) >= {
    ("params", "hidden_layer", "kernel"),
    ("params", "output", "kernel"),
  }


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (2, 5, 7, 3), (1, 3, 2, 1)])
def test_max_pool_is_flaxs(shape):
  rng = np.random.default_rng(0)
  x = rng.normal(size=shape).astype(np.float32)
  pools = (
    image_classifiers.max_pool,
    lambda x: nn.max_pool(x, (2, 2), (2, 2)),
  )
  ours, theirs = (pool(x) for pool in pools)
  np.testing.assert_array_equal(ours, theirs)
  weight = rng.normal(size=ours.shape)

  def gradient(pool):
    return jax.jit(jax.grad(lambda x: (weight * pool(nn.relu(x))).sum()))(x)

  # Zeros are equal after a ReLU, and their gradient ends there.
  ours, theirs = map(gradient, pools)
  np.testing.assert_allclose(ours, theirs, atol=1e-6)
  assert np.abs(ours).max() > 0


def test_random_views_are_crops_mirrored_or_not():
  images = np.arange(300 * 6 * 7 * 2).reshape(300, 6, 7, 2)
  views = jax.jit(image_classifiers.random_views, static_argnums=2)(
    jax.random.key(0), images, 4
  )
  assert views.shape == (300, 4, 4, 2)
  places = list(itertools.product(range(3), range(4), (1, -1)))
  seen = dict.fromkeys(places, 0)
  for image, view in zip(images, np.asarray(views), strict=True):
    (place,) = (
      (top, left, sense)
      for top, left, sense in places
      if (image[top : top + 4, left : left + 4][:, ::sense] == view).all()
    )
    seen[place] += 1
  # 24 places, each expected 12.5 times.
  assert min(seen.values()) >= 2
  assert max(seen.values()) < 35


@pytest.mark.parametrize("margin", [(4, 4), (3, 5), (0, 1)])
def test_ten_views_are_torchvisions(margin):
  size = 5
  height, width = size + margin[0], size + margin[1]
  image = np.arange(2 * height * width).reshape(2, height, width, 1)

  def five_crop(image):
    top, left = (round((n - size) / 2.0) for n in (height, width))
    return [
      image[:, :size, :size],
      image[:, :size, width - size :],
      image[:, height - size :, :size],
      image[:, height - size :, width - size :],
      image[:, top : top + size, left : left + size],
    ]

  expected = five_crop(image) + five_crop(np.flip(image, 2))
  views = image_classifiers.ten_views(jnp.asarray(image), size)
  np.testing.assert_array_equal(views, np.stack(expected))
