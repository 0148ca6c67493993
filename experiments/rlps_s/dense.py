"""The dense classifier of the study, on descriptors of faces or on features.

Dropout, a dense layer with batch norm, ReLU, dropout, a dense layer; Adam with
one cycle. Runs R are an axis of one program and share batches and dropout of
the inputs: differences between them are of what they are trained on.

V views, N examples, B of a batch, D values, H hidden units, K classes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.rlps_s import descriptors, losses

EPOCHS = 24  # Of faces.
HIDDEN, BATCH = 256, 128
RATE, DECAY = 2e-3, 1e-3
_DROP_INPUT, _DROP_HIDDEN = 0.3, 0.5
_MOMENTUM = 0.95  # Of the statistics of batch norm.


def read(images: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
  """What the classifier takes, by part: descriptors as `descriptors.scaled`.

  Also those of moved images, but for the test part.
  """
  return descriptors.scaled(images)


class Trained(NamedTuple):
  """Runs after their training: trees [R, …]; labels as relabelled."""

  params: Any
  stats: Any
  label_RxN: jax.Array


def _init(key, runs: int, width: int, classes: int):
  hidden_key, output_key, look_key = jax.random.split(key, 3)
  shape = (runs, width, HIDDEN)
  params = {
    "hidden": jax.random.normal(hidden_key, shape) * np.sqrt(2 / width),
    "scale": jnp.ones((runs, HIDDEN)),
    "shift": jnp.zeros((runs, HIDDEN)),
    "output": jax.random.normal(output_key, (runs, HIDDEN, classes))
    / np.sqrt(HIDDEN),
    "bias": jnp.zeros((runs, classes)),
    "look": jax.random.normal(look_key, (runs, HIDDEN)) / np.sqrt(HIDDEN),
    "look_bias": jnp.zeros((runs,)),
  }
  stats = {
    "mean": jnp.zeros((runs, HIDDEN)),
    "variance": jnp.ones((runs, HIDDEN)),
  }
  return params, stats


def _forward(params, stats, x_BxD, weight_RxB=None, key=None):
  """Logits [R, B, K], hidden states [R, B, H], statistics.

  With weights and a key as in training: examples of weight 0 take no part.
  """
  training = key is not None
  if training:
    input_key, hidden_key = jax.random.split(key)
    stay = jax.random.bernoulli(input_key, 1 - _DROP_INPUT, x_BxD.shape)
    x_BxD = x_BxD * stay / (1 - _DROP_INPUT)
  x = jnp.einsum("bd,rdh->rbh", x_BxD, params["hidden"])
  mean, variance = stats["mean"], stats["variance"]
  if training:
    share = weight_RxB / jnp.maximum(weight_RxB.sum(1, keepdims=True), 1)
    mean = jnp.einsum("rb,rbh->rh", share, x)
    variance = jnp.einsum("rb,rbh->rh", share, (x - mean[:, None]) ** 2)
    new = {"mean": mean, "variance": variance}
    stats = jax.tree.map(
      lambda old, new: _MOMENTUM * old + (1 - _MOMENTUM) * new, stats, new
    )
  x = (x - mean[:, None]) * jax.lax.rsqrt(variance + 1e-5)[:, None]
  x = jax.nn.relu(x * params["scale"][:, None] + params["shift"][:, None])
  if training:
    stay = jax.random.bernoulli(hidden_key, 1 - _DROP_HIDDEN, x.shape[1:])
    x = x * stay / (1 - _DROP_HIDDEN)
  logits = jnp.einsum("rbh,rhk->rbk", x, params["output"])
  return logits + params["bias"][:, None], x, stats


def _look(params, x_RxBxH):
  """SCN's importance of examples [R, B], from 0 to 1."""
  score = jnp.einsum("rbh,rh->rb", x_RxBxH, params["look"])
  return jax.nn.sigmoid(score + params["look_bias"][:, None])


@functools.partial(jax.jit, static_argnames=("loss", "classes", "epochs"))
def train(
  views_VxNxD: jax.Array,
  label_RxN: jax.Array,
  weight_RxN: jax.Array,
  key: jax.Array,
  classes: int,
  epochs: int,
  loss: Callable = losses.plain,
) -> Trained:
  """Trains R runs on the same batches.

  Args:
    views_VxNxD: of an example one is drawn each time.
    label_RxN: int32.
    weight_RxN: 1 for what a run is trained on, else 0.
    key: of the weights, the order and dropout.
    classes: K.
    epochs: over all N.
    loss: of `losses`.
  """
  runs, count = weight_RxN.shape
  of_epoch = count // BATCH
  steps = of_epoch * epochs
  rate = optax.cosine_onecycle_schedule(steps, RATE, 0.15)
  tx = optax.adamw(rate, weight_decay=DECAY)
  # Co-teaching needs two that differ; the others begin alike.
  drawn = runs if loss not in (losses.plain, losses.scn) else 1
  weights_key, order_key, steps_key = jax.random.split(key, 3)
  params, stats = _init(weights_key, drawn, views_VxNxD.shape[2], classes)
  params, stats = jax.tree.map(
    lambda x: jnp.broadcast_to(x, (runs, *x.shape[1:])), (params, stats)
  )
  order = jax.vmap(lambda key: jax.random.permutation(key, count))(
    jax.random.split(order_key, epochs)
  )
  batches = order[:, : of_epoch * BATCH].reshape(-1, BATCH)

  def step(carry, inputs):
    params, optimizer, stats, label_RxN = carry
    number, index_B = inputs
    view_key, step_key = jax.random.split(jax.random.fold_in(steps_key, number))
    view_B = jax.random.randint(view_key, (BATCH,), 0, len(views_VxNxD))
    x_BxD, weight_RxB = views_VxNxD[view_B, index_B], weight_RxN[:, index_B]

    def of(params):
      logits, hidden, new = _forward(params, stats, x_BxD, weight_RxB, step_key)
      value, label_RxB = loss(
        *(logits, _look(params, hidden), label_RxN[:, index_B], weight_RxB),
        number / steps,
      )
      return value, (new, label_RxB)

    grads, (stats, label_RxB) = jax.grad(of, has_aux=True)(params)
    updates, optimizer = tx.update(grads, optimizer, params)
    params = optax.apply_updates(params, updates)
    label_RxN = label_RxN.at[:, index_B].set(label_RxB.astype(jnp.int32))
    return (params, optimizer, stats, label_RxN), None

  start = (params, tx.init(params), stats, label_RxN)
  (params, _, stats, label_RxN), _ = jax.lax.scan(
    step, start, (jnp.arange(steps), batches)
  )
  return Trained(params, stats, label_RxN)


@jax.jit
def predict(trained: Trained, views_VxNxD: jax.Array):
  """Log-probabilities [R, N, K] of the mean over views; importance [R, N].

  The views are the unmoved ones: the first, and the mirror image's.
  """
  unmoved = views_VxNxD[:: max(1, len(views_VxNxD) // 2)][:2]
  found = [_forward(trained.params, trained.stats, x_NxD) for x_NxD in unmoved]
  logits = sum(one[0] for one in found) / len(found)
  look = sum(_look(trained.params, one[1]) for one in found) / len(found)
  return jax.nn.log_softmax(logits), look
