"""The CNNs of the study, on the images themselves.

Random squares of the image, half of them mirrored; Adam with one cycle. Runs
are trained one after the other on batches of what they keep, each with as many
updates as one that keeps everything. Steps are dispatched from Python: see
`emojax.trainers.fit.Examples`.

N examples, B of a batch, D features, K classes, R runs.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from emojax.runtime import sharding
from emojax.systems import classifiers, faces
from experiments.rlps_s import losses
from experiments.rlps_s.small_cnn import SmallCnn

CROP = 44  # Pixels of 48.
RATE, DECAY = 2e-3, 1e-3


class Trained(NamedTuple):
  """Runs after their training; labels as relabelled."""

  variables: tuple[Any, ...]  # Of each run.
  label_RxN: np.ndarray


@flax.struct.dataclass
class _Learner:
  """Runs that train side by side; labels [R, N] may change."""

  step: jax.Array
  params: Any  # Of each run: the classifier's, and what SCN reads.
  stats: Any  # Of each run.
  optimizer: optax.OptState
  label_RxN: jax.Array


@dataclasses.dataclass(frozen=True)
class Cnn:
  """What trains a network, which is made from the number of classes."""

  network: Callable[[int], nn.Module]
  epochs: int
  batch: int
  at_once: int  # Examples of which ten views are looked at.

  def read(self, images: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """What it takes, by part: uint8 [N, H, W, 1] as they are."""
    return images

  def train(
    self,
    images_NxHxWx1: jax.Array,
    label_RxN: np.ndarray,
    weight_RxN: np.ndarray,
    key: jax.Array,
    classes: int,
    epochs: int,
    loss: Callable = losses.plain,
  ) -> Trained:
    """As `dense.train`; examples of weight 0 are in no batch."""
    runs = [[r] for r in range(len(label_RxN))]
    if loss not in (losses.plain, losses.scn):
      runs = [list(range(len(label_RxN)))]  # They teach each other.
    model = self.network(classes)
    found = [
      _train(
        *(model, self.batch, images_NxHxWx1, label_RxN[of]),
        *(np.flatnonzero(weight_RxN[of[0]]), key, epochs, loss),
      )
      for of in runs
    ]
    variables = [one for trained in found for one in trained.variables]
    return Trained(
      tuple(variables), np.concatenate([one.label_RxN for one in found])
    )

  def predict(
    self, trained: Trained, images_NxHxWx1: jax.Array
  ) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [R, N, K] of ten views' mean; importance [R, N]."""
    found = [self._predict(one, images_NxHxWx1) for one in trained.variables]
    return tuple(np.stack(of) for of in zip(*found, strict=True))

  def _predict(self, variables, images_NxHxWx1):
    """As `predict`, of one run; what is on the device is fetched at the end."""
    model = self.network(len(variables["params"]["output"]["bias"]))
    starts = range(0, len(images_NxHxWx1), self.at_once)
    outputs = [
      _outputs(model, variables, images_NxHxWx1[i : i + self.at_once])
      for i in starts
    ]
    return [
      np.concatenate(of) for of in zip(*jax.device_get(outputs), strict=True)
    ]


# `model.classifier = "cnn"`.
CNN = Cnn(functools.partial(faces.cnn, dropout=0.5), 32, 128, 500)
# On a CPU the caches hold what so few examples need.
SMALL_CNN = Cnn(SmallCnn, 12, 32, 20)


def _classifier(model: nn.Module) -> classifiers.Classifier:
  return classifiers.of_images("CNN", model, CROP)


def _train(
  model, batch, images, label_RxN, row_n, key, epochs, loss
) -> Trained:
  steps = images.shape[0] // batch * epochs
  start_key, order_key, step_key = jax.random.split(key, 3)
  start = _start(model, start_key, images[:1], jnp.asarray(label_RxN), steps)
  # Shuffled anew as often as the updates take.
  rng = np.random.default_rng(jax.random.bits(order_key, (4,)).tolist())
  rounds = -(-steps * batch // len(row_n))
  order = np.concatenate([rng.permutation(row_n) for _ in range(rounds)])
  batches = jnp.asarray(order[: steps * batch].reshape(steps, batch), jnp.int32)
  learner = start
  for _ in range(steps):
    learner = _step(model, learner, images, batches, step_key, loss)
  variables = tuple(
    {"params": params, **stats}
    for params, stats in zip(learner.params, learner.stats, strict=True)
  )
  return Trained(variables, np.asarray(learner.label_RxN))


def _optimizer(steps: int) -> optax.GradientTransformation:
  rate = optax.cosine_onecycle_schedule(steps, RATE, 0.15)
  return optax.adamw(rate, weight_decay=DECAY)


@functools.partial(
  jax.jit, static_argnums=(0, 4), compiler_options=sharding.RUNS_ONCE
)
def _start(model, key, image_1, label_RxN, steps: int) -> _Learner:
  params, stats = [], []
  for run in range(len(label_RxN)):
    of_run_key = jax.random.fold_in(key, run)
    variables = dict(_classifier(model).init(of_run_key, image_1))
    of_run = variables.pop("params")
    width = of_run["output"]["kernel"].shape[0]
    look_key = jax.random.fold_in(key, len(label_RxN) + run)
    look_D = jax.random.normal(look_key, (width,)) / np.sqrt(width)
    params.append({**of_run, "look": look_D, "look_bias": jnp.zeros(())})
    stats.append(variables)
  optimizer = _optimizer(steps).init(params)
  return _Learner(jnp.int32(0), params, stats, optimizer, label_RxN)


@functools.partial(jax.jit, static_argnums=(0, 5), donate_argnums=(1,))
def _step(
  model: nn.Module, learner: _Learner, images, batches, key, loss: Callable
) -> _Learner:
  steps = len(batches)
  index_B = batches[learner.step]
  key = jax.random.fold_in(key, learner.step)
  label_RxB = learner.label_RxN[:, index_B]

  def of(params):
    logits, look, changed = [], [], []
    for of_run, stats in zip(params, learner.stats, strict=True):
      of_run, look_of = _parted(of_run)
      logits_BxK, features_BxD, new = _classifier(model).apply(
        {"params": of_run, **stats}, images[index_B], True, key
      )
      logits.append(logits_BxK)
      look.append(_importance(look_of, features_BxD))
      changed.append(new)
    value, new_label_RxB = loss(
      *(jnp.stack(logits), jnp.stack(look), label_RxB),
      *(jnp.ones(label_RxB.shape), learner.step / steps),
    )
    return value, (changed, new_label_RxB)

  grads, (stats, new_label_RxB) = jax.grad(of, has_aux=True)(learner.params)
  updates, optimizer = _optimizer(steps).update(
    grads, learner.optimizer, learner.params
  )
  params = optax.apply_updates(learner.params, updates)
  new_label_RxB = new_label_RxB.astype(jnp.int32)
  label_RxN = learner.label_RxN.at[:, index_B].set(new_label_RxB)
  return _Learner(learner.step + 1, params, stats, optimizer, label_RxN)


@functools.partial(jax.jit, static_argnums=0)
def _outputs(model, variables, images_BxHxWx1):
  """Log-probabilities [B, K] and importance [B]."""
  params, look_of = _parted(variables["params"])
  logits_BxK, features_BxD, _ = _classifier(model).apply(
    {**variables, "params": params}, images_BxHxWx1, False, jax.random.key(0)
  )
  return jax.nn.log_softmax(logits_BxK), _importance(look_of, features_BxD)


def _parted(params):
  """The classifier's parameters, and those of SCN's importance."""
  look_of = params["look"], params["look_bias"]
  return {k: v for k, v in params.items() if not k.startswith("look")}, look_of


def _importance(look_of, features_BxD):
  look_D, bias = look_of
  return jax.nn.sigmoid(features_BxD @ look_D + bias)
