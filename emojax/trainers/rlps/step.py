"""The classifier's state, loss and step: the program of one device.

Letters in names: I items of a part, B items of a batch, E examples of an item,
K classes.
"""

import enum
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from emojax import losses
from emojax.trainers.rlps.classifiers import Classifier

DATA = "data"  # The mesh axis over which batches are cut.


class Use(enum.IntEnum):
  """What a run draws random numbers for; each has a key of its own."""

  WEIGHTS = 0
  ORDER = 1  # Of the items in an epoch.
  STEP = 2  # Dropout and random views.
  POLICY_WEIGHTS = 3
  POLICY_PRETRAINING = 4
  PASS = 5
  RANDOM_REMOVAL = 6


@flax.struct.dataclass
class Learner:
  """What the classifier's training changes.

  Attributes:
    variables: see `Classifier.init`.
    optimizer: the state of the optimizer of its `params`.
    step: batches so far.
  """

  variables: Any
  optimizer: optax.OptState
  step: jax.Array


def init_learner(tx: optax.GradientTransformation, variables) -> Learner:
  """A classifier before its training."""
  return Learner(variables, tx.init(variables["params"]), jnp.int32(0))


def take(inputs, index_B: jax.Array):
  """The items of a batch, from those of the whole part."""
  return jax.tree.map(lambda values: values[index_B], inputs)


def train_step(
  classifier: Classifier,
  tx: optax.GradientTransformation,
  learner: Learner,
  inputs,
  label_IxE: jax.Array,
  retained_IxE: jax.Array,
  index_B: jax.Array,
  weight_B: jax.Array,
  key: jax.Array,
  learning_rate: jax.Array,
) -> tuple[Learner, jax.Array]:
  """One step on this device's part of the batch: Eq. (5).

  Args:
    classifier: what is trained.
    tx: its optimizer.
    learner: before the step.
    inputs: all items of the training part.
    label_IxE: their classes; any number where there is no example.
    retained_IxE: 0 or 1, whether an example counts.
    index_B: the items of the batch.
    weight_B: 0 where an item only fills the batch up.
    key: of the epoch's steps.
    learning_rate: what the optimizer's updates are multiplied with.

  Returns:
    The next state, and the mean loss over the batch of all devices.
  """
  key = jax.random.fold_in(key, learner.step)
  key = jax.random.fold_in(key, jax.lax.axis_index(DATA))
  weight_BxE = retained_IxE[index_B] * weight_B[:, None]
  total = jax.lax.psum(weight_BxE.sum(), DATA)
  others = {k: v for k, v in learner.variables.items() if k != "params"}

  def loss_fn(params):
    logits, _, changed = classifier.apply(
      {**others, "params": params}, take(inputs, index_B), True, key
    )
    targets = losses.smooth_targets(
      label_IxE[index_B].reshape(-1), logits.shape[-1]
    )
    values = losses.cross_entropies(logits, targets) * weight_BxE.reshape(-1)
    return values.sum() / jnp.maximum(total, 1), changed

  params = learner.variables["params"]
  (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
  grads, loss = jax.lax.psum((grads, loss), DATA)
  # Every device has statistics of its own part of the batch.
  changed = jax.lax.pmean(changed, DATA)
  updates, optimizer = tx.update(grads, learner.optimizer, params)
  updates = jax.tree.map(lambda update: -learning_rate * update, updates)
  variables = {
    **others,
    **changed,
    "params": optax.apply_updates(params, updates),
  }
  return Learner(variables, optimizer, learner.step + 1), loss


def outputs(classifier: Classifier, variables, inputs, index_B: jax.Array):
  """Logits [B * E, K] and features [B * E, D] of some items of a part."""
  # Nothing is random without training: any key does.
  logits, features, _ = classifier.apply(
    variables, take(inputs, index_B), False, jax.random.key(0)
  )
  return logits, features
