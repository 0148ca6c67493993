"""Epochs and outputs of a classifier, whoever chooses what it learns from.

N examples of the training part, K classes, D features; see `classifiers` for
items and examples.
"""

import functools
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from sklearn.metrics import confusion_matrix

from emojax.metrics import confusion_figures
from emojax.runtime import sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.trainers.rlps import step
from emojax.trainers.rlps.classifiers import Classifier
from emojax.trainers.rlps.material import Material
from emojax.trainers.rlps.step import Learner, Use


class Fitting:
  """A classifier and a corpus on the devices, for any initialisation.

  Steps are dispatched from Python: on a CPU a convolution in a loop of XLA's is
  40 times slower, and the number of steps depends on how many are retained.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    classifier: Classifier,
    material: Material,
  ):
    """Puts the data on the devices and compiles.

    Args:
      config: a whole config.
      classifier: what is trained.
      material: the data.
    """
    self.material = material
    self._config = config
    self._classifier = classifier
    self._mesh = sharding.make_mesh(jax.device_count())
    self._by_item = jax.sharding.NamedSharding(self._mesh, DATA)
    self._inputs = {
      name: self.place(part.inputs) for name, part in material.parts.items()
    }
    train = material.parts["train"]
    self._label_IxE = self.place(train.label_IxE)
    self._place_N = train.place_N
    self.label_N = self.place(train.label_N)
    self._tx = optax.chain(
      optax.clip(config.optimizer.clip_value)
      if config.optimizer.clip_value
      else optax.identity(),
      optax.add_decayed_weights(config.optimizer.weight_decay),
      optax.trace(config.optimizer.momentum),
    )
    self._compile()

  def draw(self, key: jax.Array):
    """The classifier's first variables."""
    train = self.material.parts["train"]
    example = self.place(step.take(train.inputs, np.arange(1)))
    key = jax.random.fold_in(key, Use.WEIGHTS)
    return self._draw(self.place(key), example)

  def learner(self, variables) -> Learner:
    """A classifier before its training; its memory is its own."""
    return self._learner(self.place(variables))

  def epoch(
    self, learner: Learner, retained_N: np.ndarray, key: jax.Array, epoch: int
  ) -> tuple[Learner, jax.Array]:
    """Trains once on all examples that are retained: Algorithm 1, line 13.

    Args:
      learner: before the epoch; it is donated.
      retained_N: bool, on the host. Without any the classifier stays as it is.
      key: of the run.
      epoch: since the first of the pretraining.

    Returns:
      The classifier, and the mean loss of its batches, 0 where there is none.
    """
    train = self.material.parts["train"]
    retained_IxE = np.zeros(train.label_IxE.shape, np.float32)
    retained_IxE.reshape(-1)[self._place_N] = retained_N
    items = np.flatnonzero(retained_IxE.any(1))
    if not len(items):
      return learner, jnp.float32(0)
    order_key, step_key = (
      jax.random.fold_in(jax.random.fold_in(key, use), epoch)
      for use in (Use.ORDER, Use.STEP)
    )
    seed = np.asarray(jax.random.key_data(order_key))
    items = np.random.default_rng(seed).permutation(items)
    size = self._config.batch_size
    count = math.ceil(len(items) / size)
    # The last batch is filled up with the first items, which do not count.
    index_CxB = np.resize(items, (count, size)).astype(np.int32)
    weight_CxB = np.arange(count * size) < len(items)
    weight_CxB = weight_CxB.reshape(count, size).astype(np.float32)
    retained_IxE = self.place(retained_IxE)
    step_key = self.place(step_key)
    rate = self.place(jnp.float32(self._rate(epoch)))
    total = jnp.float32(0)
    for index_B, weight_B in zip(index_CxB, weight_CxB, strict=True):
      learner, loss = self._step(
        learner,
        self._inputs["train"],
        self._label_IxE,
        retained_IxE,
        jax.device_put(index_B, self._by_item),
        jax.device_put(weight_B, self._by_item),
        step_key,
        rate,
      )
      total += loss
    return learner, total / count

  def extract(self, variables) -> tuple[jax.Array, jax.Array]:
    """Features [N, D] of the training part, and the labels' probability [N].

    Lines 4 and 14 of Algorithm 1: one pass does for both, since the classifier
    is the same at the end of an epoch and at the beginning of the next.

    Each feature is divided by its root mean square over the part: what the
    policy sees keeps its scale while the classifier's grows. Without that half
    of the training set comes and goes from one epoch to the next.
    """
    return self._what_is_seen(*self._outputs(variables, "train"), self.label_N)

  def logits(self, variables, part: str) -> np.ndarray:
    """Of all examples of a part, float32 [n, K], on the host."""
    return np.asarray(self._outputs(variables, part)[0])

  def validation(self, variables) -> dict[str, np.ndarray]:
    """Figures of the validation part, and its confusion matrix."""
    confusion_KxK = confusion(
      self.logits(variables, "validation"),
      self.material.parts["validation"].label_N,
    )
    figures = confusion_figures(confusion_KxK)
    return {
      "validation_confusion_matrix": confusion_KxK,
      **{f"validation_{k}": np.float32(v) for k, v in figures.items()},
    }

  def place(self, tree):
    """Puts arrays on all devices."""
    return sharding.place(tree, self._mesh, REPLICATED)

  def _rate(self, epoch: int) -> float:
    """The learning rate, lower by a factor every few epochs after a while."""
    config = self._config.optimizer
    late = max(0, epoch - config.decay_start)
    times = late // config.decay_every
    return config.learning_rate * config.decay_rate**times

  def _outputs(self, variables, part: str) -> tuple[jax.Array, jax.Array]:
    """Logits [n, K] and features [n, D] of all examples of a part."""
    place_N = self.material.parts[part].place_N
    count = len(self.material.parts[part].label_IxE)
    size = self._config.batch_size
    index = np.arange(-(-count // size) * size, dtype=np.int32) % count
    found = [
      self._batch_outputs(
        variables, self._inputs[part], jax.device_put(index_B, self._by_item)
      )
      for index_B in index.reshape(-1, size)
    ]
    return tuple(
      jnp.concatenate(values)[place_N] for values in zip(*found, strict=True)
    )

  def _compile(self) -> None:
    everywhere, cut = REPLICATED, DATA
    self._draw = jax.jit(
      self._classifier.init, compiler_options=sharding.RUNS_ONCE
    )
    self._learner = jax.jit(functools.partial(_own_learner, self._tx))
    self._step = sharding.mapped(
      functools.partial(step.train_step, self._classifier, self._tx),
      self._mesh,
      (*[everywhere] * 4, cut, cut, everywhere, everywhere),
      (everywhere, everywhere),
      donate_argnums=(0,),
    )
    self._batch_outputs = sharding.mapped(
      functools.partial(step.outputs, self._classifier),
      self._mesh,
      (everywhere, everywhere, cut),
      cut,
    )
    self._what_is_seen = jax.jit(_what_is_seen)


def confusion(logits_NxK: np.ndarray, label_N: np.ndarray) -> np.ndarray:
  """Counts [K, K]: true classes in rows, predicted ones in columns."""
  classes = np.arange(logits_NxK.shape[1])
  return confusion_matrix(label_N, logits_NxK.argmax(1), labels=classes)


def _own_learner(tx, variables) -> Learner:
  return step.init_learner(tx, jax.tree.map(jnp.copy, variables))


def _what_is_seen(logits_NxK, features_NxD, label_N):
  """See `Fitting.extract`."""
  probability_NxK = jax.nn.softmax(logits_NxK)
  true_N = jnp.take_along_axis(probability_NxK, label_N[:, None], 1)[:, 0]
  size_1xD = jnp.sqrt((features_NxD**2).mean(0, keepdims=True))
  # A unit that is never active stays zero.
  return features_NxD / jnp.maximum(size_1xD, 1e-6), true_N
