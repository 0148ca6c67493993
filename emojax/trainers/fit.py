"""What training any single classifier takes: state, loss, step, best, outputs.

Batches are cut over the mesh axis `data`; see `sharding.compiled`.

Letters in names: B examples of a batch, C classes.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from emojax.data.noise import Part
from emojax.metrics import confusion_counts
from emojax.runtime import sharding
from emojax.systems.classifiers import Classifier


@flax.struct.dataclass
class Learner:
  """What training changes."""

  step: jax.Array  # Batches so far.
  params: Any  # Those that are trained, and no others.
  model_state: Any  # What else the model keeps, such as {"batch_stats": …}.
  optimizer: optax.OptState

  @property
  def variables(self) -> dict[str, Any]:
    """What the model's `apply` takes."""
    return {"params": self.params, **self.model_state}


@flax.struct.dataclass
class Best:
  """A learner at its best validation so far."""

  params: Any
  model_state: Any
  score: jax.Array  # -1 before the first validation.
  when: jax.Array  # What `keep_best` was told: batches or epochs so far.

  @property
  def variables(self) -> dict[str, Any]:
    """What the model's `apply` takes."""
    return {"params": self.params, **self.model_state}


def init_learner(
  tx: optax.GradientTransformation, variables: dict[str, Any]
) -> Learner:
  """A learner before its first batch; its memory is its own, to be donated."""
  model_state = jax.tree.map(jnp.copy, dict(variables))
  params = model_state.pop("params")
  return Learner(jnp.int32(0), params, model_state, tx.init(params))


@jax.jit
def init_best(learner: Learner) -> Best:
  """What `keep_best` begins with: anything is better."""
  kept = jax.tree.map(jnp.copy, (learner.params, learner.model_state))
  return Best(*kept, jnp.float32(-1), jnp.int32(0))


@jax.jit
def keep_best(best: Best, learner: Learner, score, when) -> Best:
  """Keeps the learner if its validation score is above all before it."""
  is_better = score > best.score
  score, when = jnp.asarray(score, jnp.float32), jnp.asarray(when, jnp.int32)
  new = Best(learner.params, learner.model_state, score, when)
  return jax.tree.map(functools.partial(jnp.where, is_better), new, best)


def class_weights(labels_N: np.ndarray, num_classes: int) -> np.ndarray:
  """N / (C count) of each class, as scikit-learn's 'balanced': float32 [C].

  Each of the C classes has to be among the labels.
  """
  counts_C = np.bincount(labels_N, minlength=num_classes)
  return (len(labels_N) / (num_classes * counts_C)).astype(np.float32)


def weighted_mean(values_B: jax.Array, weights_B: jax.Array) -> jax.Array:
  """The weighted mean; 0 where all weights are 0."""
  return (values_B * weights_B).sum() / jnp.maximum(weights_B.sum(), 1e-8)


def weighted_cross_entropy(
  logits_BxC: jax.Array, targets_BxC: jax.Array, weights_B: jax.Array
) -> jax.Array:
  """The mean cross-entropy of a batch, in nats.

  Targets are distributions; weights are 0 for what only fills a batch up.
  """
  values_B = optax.softmax_cross_entropy(
    logits_BxC.astype(jnp.float32), targets_BxC
  )
  return weighted_mean(values_B, weights_B)


def train_step(
  loss_fn: Callable,
  tx: optax.GradientTransformation,
  learner: Learner,
  key: jax.Array,
  *inputs,
) -> tuple[Learner, dict[str, jax.Array]]:
  """One step on a batch, which may be cut over devices.

  `loss_fn`: `(params, model_state, key, *inputs) -> (loss, (metrics,
  model_state))`. `key` is the same in all steps; the loss gets another one in
  each.

  Returns:
    The learner after the step, and the metrics.
  """
  key = jax.random.fold_in(key, learner.step)
  grads, (metrics, model_state) = jax.grad(loss_fn, has_aux=True)(
    learner.params, learner.model_state, key, *inputs
  )
  updates, optimizer = tx.update(grads, learner.optimizer, learner.params)
  params = optax.apply_updates(learner.params, updates)
  return Learner(learner.step + 1, params, model_state, optimizer), metrics


def filled_batches(
  rows_N: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Cuts rows, at least one, in batches of one size B.

  Returns:
    int32 [C, B] rows, the last batch filled up with the first ones; float32 [C,
    B] weights, 0 for what fills up.
  """
  count = -(-len(rows_N) // size)
  index_CxB = np.resize(rows_N, (count, size)).astype(np.int32)
  weight_CxB = np.arange(count * size).reshape(count, size) < len(rows_N)
  return index_CxB, weight_CxB.astype(np.float32)


def predict_all(forward: Callable[[Any], Any], batches: Iterable[Any]) -> Any:
  """Outputs of all batches, one after the other: a tree of NumPy arrays.

  The last batch may be filled up: whoever reads the result leaves out what is
  behind the last example.
  """
  outputs = [forward(batch) for batch in batches]
  return jax.tree.map(
    lambda *values: np.concatenate(values), *sharding.fetch(outputs)
  )


def mixup(key: jax.Array, alpha: float, inputs, lengths_B, targets):
  """Mixes each example with another: Zhang et al. 2018, "mixup".

  Shares are drawn from Beta(alpha, alpha). Inputs are [B, ...] with zeros after
  their end, targets any tree of distributions [B, ...].

  Returns:
    The inputs, lengths (of the longer one) and targets of the mixtures.
  """
  share_key, order_key = jax.random.split(key)
  batch = len(lengths_B)
  share_B = jax.random.beta(share_key, alpha, alpha, (batch,))
  # The example itself has the larger share, and its place in the batch.
  share_B = jnp.maximum(share_B, 1 - share_B)
  other_B = jax.random.permutation(order_key, batch)

  def blend(x):
    share = share_B.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
    return share * x + (1 - share) * x[other_B]

  lengths_B = jnp.maximum(lengths_B, lengths_B[other_B])
  return blend(inputs), lengths_B, jax.tree.map(blend, targets)


class _Programs(NamedTuple):
  """What a classifier does with examples."""

  draw: Callable
  start: Callable
  step: Callable
  # Apart from the outputs, which are then one program for parts of any size.
  take: Callable
  outputs: Callable


@functools.cache
def _compile(
  classifier: Classifier,
  tx: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
) -> _Programs:
  """Once: what is traced for one data set serves the others of its size."""
  step = functools.partial(
    train_step, functools.partial(classifier_loss, classifier), tx
  )
  return _Programs(
    draw=jax.jit(classifier.init, compiler_options=sharding.RUNS_ONCE),
    start=jax.jit(functools.partial(init_learner, tx)),
    step=sharding.compiled(
      functools.partial(_numbered_step, step),
      mesh,
      sharding.REPLICATED,
      donate_argnums=(0,),
    ),
    take=sharding.compiled(_take_numbered, mesh, sharding.DATA),
    outputs=sharding.compiled(
      functools.partial(_outputs, classifier), mesh, sharding.DATA
    ),
  )


class Examples:
  """A classifier and the examples of a data set, on all devices.

  Steps are dispatched from Python: on a CPU a convolution in a loop of XLA's is
  40 times slower, and the number of steps may change from epoch to epoch.
  """

  def __init__(
    self,
    classifier: Classifier,
    parts: Mapping[str, Part],
    tx: optax.GradientTransformation,
    batch_size: int,
  ):
    """Puts the examples on the devices; a batch is over all devices."""
    self._parts = parts
    self._batch_size = batch_size
    self._mesh = sharding.make_mesh(jax.device_count())
    self._inputs = {
      name: self.place(part.inputs()) for name, part in parts.items()
    }
    self.label_N = self.place(parts["train"].label_N)
    self._programs = _compile(classifier, tx, self._mesh)

  def draw(self, key: jax.Array) -> Any:
    """The classifier's first variables, drawn on one device.

    Where several draw, what an initialiser calls of LAPACK may block them all.
    """
    example = jax.tree.map(lambda x: np.asarray(x[:1]), self._inputs["train"])
    return self._programs.draw(key, example)

  def learner(self, variables: Any) -> Learner:
    """A classifier before its training; its memory is its own."""
    return self._programs.start(self.place(variables))

  def epoch(
    self, learner: Learner, rows_n: np.ndarray, key: jax.Array
  ) -> tuple[Learner, jax.Array]:
    """Trains once on some examples of the part 'train', in their order.

    Returns:
      The learner (the one before is donated) and the mean loss of the batches.
    """
    index_CxB, weight_CxB = filled_batches(rows_n, self._batch_size)
    count, most = len(index_CxB), -(-len(self.label_N) // self._batch_size)
    # Of one size, however many rows there are: the step is compiled once.
    spare = (0, max(most - count, 0)), (0, 0)
    batches = self._cut([np.pad(x, spare) for x in (index_CxB, weight_CxB)])
    key, total = self.place(key), self.place(np.float32(0))
    for number in range(count):
      learner, metrics = self._programs.step(
        *(learner, key, self._inputs["train"], self.label_N),
        *(batches, number),
      )
      total += metrics["loss"]
    return learner, total / count

  def predict(self, variables: Any, part: str) -> list[np.ndarray]:
    """Logits [n, C] and features [n, D] of all examples of a part."""
    inputs, count = self._inputs[part], len(self._parts[part])
    index_CxB, _ = filled_batches(np.arange(count), self._batch_size)
    placed_CxB = self._cut(index_CxB)
    take, outputs = self._programs.take, self._programs.outputs
    found = predict_all(
      lambda number: outputs(variables, take(inputs, placed_CxB, number)),
      range(len(index_CxB)),
    )
    return [values[:count] for values in found]

  def confusion(self, variables: Any, part: str) -> np.ndarray:
    """Counts [C, C]: true classes in rows, predicted ones in columns."""
    logits_nxC, _ = self.predict(variables, part)
    return confusion_counts(logits_nxC, self._parts[part].label_N)

  def place(self, tree: Any) -> Any:
    """Puts arrays on all devices."""
    return sharding.place(tree, self._mesh, sharding.REPLICATED)

  def _cut(self, batches: Any) -> Any:
    """Puts arrays [C, B] on the devices, all batches at once.

    One by one they take more time than a step on a fast GPU has to spare.
    """
    return sharding.place(batches, self._mesh, PartitionSpec(None, "data"))


def _numbered_step(
  step: Callable, learner: Learner, key, inputs, label_N, batches, number
):
  """A step on one of the batches: indices and weights [C, B] of examples."""
  index_B, weight_B = (of_CxB[number] for of_CxB in batches)
  return step(learner, key, inputs, label_N, index_B, weight_B)


def classifier_loss(
  classifier: Classifier,
  params: Any,
  model_state: Any,
  key: jax.Array,
  inputs: Any,
  label_N: jax.Array,
  index_B: jax.Array,
  weight_B: jax.Array,
) -> tuple[jax.Array, tuple[dict, Any]]:
  """The mean cross-entropy of a batch of all examples, for `train_step`."""
  logits_BxC, _, changed = classifier.apply(
    {"params": params, **model_state},
    *(_take(inputs, index_B), True, key, weight_B),
  )
  targets_BxC = jax.nn.one_hot(label_N[index_B], logits_BxC.shape[1])
  loss = weighted_cross_entropy(logits_BxC, targets_BxC, weight_B)
  return loss, ({"loss": loss}, {**model_state, **changed})


def _outputs(classifier: Classifier, variables, inputs):
  """Logits [B, C] and features [B, D] of some examples."""
  # Nothing is random without training: any key does.
  key = jax.random.key(0)
  return classifier.apply(variables, inputs, False, key)[:2]


def _take_numbered(inputs: Any, index_CxB: jax.Array, number) -> Any:
  return _take(inputs, index_CxB[number])


def _take(inputs: Any, index_B: jax.Array) -> Any:
  return jax.tree.map(lambda values: values[index_B], inputs)
