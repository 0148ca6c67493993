"""DANN for emotion in conversations: state, loss and step of all runs.

Lian et al., "Domain adversarial learning for emotion recognition". All runs of
a training setting (initialisations x lambdas x recipes) are trained at once:
they are an array axis, vmapped inside the step, and they share the batches, so
that the projection of the features is one large product for all of them.
Everything here is the program of one device.

Letters in names: R runs, U utterances of the corpus, N utterances of a batch,
C emotions, H size of the representation.
"""

import dataclasses
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax import losses
from emojax.metrics import classification_metrics
from emojax.models.sa_gru import Packing


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a system is trained. Every number is an array axis of the program.

  Attributes:
    system: its name in tables.
    reversal: lambda of Eq. (5), or what it rises to.
    learning_rate: of Adam.
    ramp: 1 if lambda rises as in Ganin et al. 2016, 0 if it is constant.
    averaging: decay a step of the moving average of the weights that is
      evaluated; 0 evaluates the weights themselves.
    clip_norm: bound on the gradient norm of the encoder with the emotion
      classifier, and of the domain classifier; infinite for none.
  """

  system: str
  reversal: float
  learning_rate: float
  ramp: float = 0.0
  averaging: float = 0.0
  clip_norm: float = np.inf


class Runs(NamedTuple):
  """What differs between runs, each [R]: the seed and the recipe."""

  seed: Any
  reversal: Any
  learning_rate: Any
  ramp: Any
  averaging: Any
  clip_norm: Any


@flax.struct.dataclass
class State:
  """Of one training setting; all leaves lead with the run axis, but `step`."""

  step: jax.Array
  params: Any
  optimizer: optax.OptState
  average: Any  # None if no run averages its weights.


class Task(NamedTuple):
  """The data of a training setting; a class is -1 where it must not be seen."""

  features: dict[str, Any]  # Normalised, [U, D] for each modality.
  speaker_U: Any  # Domain.
  label_U: Any  # Emotion for training.
  target_U: Any  # Emotion for evaluation.
  num_steps: Any  # Of the whole training.


def optimizer(l2: float) -> optax.GradientTransformation:
  """Adam with L2 on the gradient; the learning rate is applied by the step."""
  return optax.chain(optax.add_decayed_weights(l2), optax.scale_by_adam())


def loss_fn(
  params, model, features, batch, labels_N, speakers_N, reversal, key
):
  """Eq. (5), with the minus sign inside the gradient reversal layer.

  Args:
    params: of one run.
    model: a `Dann`.
    features: normalised, [N, D] for each modality.
    batch: a `batches.Batch`.
    labels_N: emotions, -1 where unlabelled.
    speakers_N: domains.
    reversal: lambda.
    key: for dropout.

  Returns:
    The sum of both losses, and each: the emotion loss is the mean over labelled
    utterances, the domain loss over all.
  """
  emotion_logits_NxC, out = model.apply(
    {"params": params},
    features,
    Packing(batch.position_BxT, batch.segment_BxT),
    reversal,
    train=True,
    rngs={"dropout": key},
  )
  real_N = jnp.arange(len(labels_N)) < batch.count
  emotion_loss = losses.masked_cross_entropy(
    emotion_logits_NxC, labels_N, real_N & (labels_N >= 0)
  )
  domain_loss = losses.masked_cross_entropy(
    out["domain_logits"], speakers_N, real_N
  )
  return emotion_loss + domain_loss, {
    "emotion_loss": emotion_loss,
    "domain_loss": domain_loss,
  }


def init_runs(model, tx, widths, averages, seeds_R, key) -> State:
  """The first state of runs: their weights depend on the seed alone.

  Args:
    model: a `Dann`.
    tx: from `optimizer`.
    widths: size of the features by modality.
    averages: whether any run averages its weights.
    seeds_R: runs with the same seed start from the same weights.
    key: root of everything random.
  """
  features = {name: jnp.zeros((1, width)) for name, width in widths}
  packing = Packing(jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), jnp.int32))

  def one_run(seed):
    return model.init(jax.random.fold_in(key, seed), features, packing, 0.0)

  params = jax.vmap(one_run)(seeds_R)["params"]
  average = jax.tree.map(jnp.copy, params) if averages else None
  return State(jnp.int32(0), params, jax.vmap(tx.init)(params), average)


def clip(grads, norm):
  """Clips the domain classifier and the rest, each to an L2 norm.

  Were the norm one of both, a run with lambda = 0 would feel its domain
  classifier through the clipping.
  """
  domain = {k: v for k, v in grads.items() if k == "domain_classifier"}
  rest = {k: v for k, v in grads.items() if k != "domain_classifier"}
  clipped = {}
  for part in (domain, rest):
    factor = jnp.minimum(1.0, norm / optax.tree.norm(part))
    clipped |= jax.tree.map(lambda g, factor=factor: g * factor, part)
  return clipped


def train_step(model, tx, state: State, runs: Runs, batch, task: Task, key):
  """One step of all runs on this device.

  Args:
    model: a `Dann`.
    tx: from `optimizer`.
    state: of R runs.
    runs: their recipes.
    batch: a `batches.Batch`, the same for all of them.
    task: the training setting.
    key: root of everything random.

  Returns:
    The next state, and both losses [R].
  """
  index_N = batch.utterances_N
  features = jax.tree.map(lambda values_UxD: values_UxD[index_N], task.features)
  labels_N, speakers_N = task.label_U[index_N], task.speaker_U[index_N]
  key = jax.random.fold_in(key, state.step)
  # Ganin et al. 2016, "Domain-adversarial training of neural networks", 5.2.2.
  rise = 2 / (1 + jnp.exp(-10 * state.step / task.num_steps)) - 1

  def one_run(params, optimizer_state, average, run):
    reversal = run.reversal * jnp.where(run.ramp > 0, rise, 1.0)
    grads, metrics = jax.grad(loss_fn, has_aux=True)(
      params,
      model,
      features,
      batch,
      labels_N,
      speakers_N,
      reversal,
      jax.random.fold_in(key, run.seed),
    )
    # Early on, an average over the few steps so far, not of the first weights.
    decay = jnp.minimum(run.averaging, (1 + state.step) / (10 + state.step))
    updates, optimizer_state = tx.update(
      clip(grads, run.clip_norm), optimizer_state, params
    )
    params = jax.tree.map(
      lambda p, u: p - run.learning_rate * u, params, updates
    )
    if average is not None:
      average = jax.tree.map(
        lambda a, p: decay * a + (1 - decay) * p, average, params
      )
    return params, optimizer_state, average, metrics

  params, optimizer_state, average, metrics = jax.vmap(
    one_run, in_axes=(0, 0, None if state.average is None else 0, 0)
  )(state.params, state.optimizer, state.average, runs)
  return State(state.step + 1, params, optimizer_state, average), metrics


def forward(model, params, batch, task):
  """Emotion logits [R, N, C] and representations [R, N, H] of all runs."""
  features = jax.tree.map(lambda x: x[batch.utterances_N], task.features)
  packing = Packing(batch.position_BxT, batch.segment_BxT)

  def one_run(params):
    logits_NxC, out = model.apply({"params": params}, features, packing, 0.0)
    return logits_NxC, out["representation"]

  return jax.vmap(one_run)(params)


def evaluate_batch(model, num_classes, params, batch, task):
  """A clu collection of test metrics, each leaf [R, ...]."""
  logits_RxNxC, _ = forward(model, params, batch, task)
  targets_N = task.target_U[batch.utterances_N]
  real_N = jnp.arange(len(targets_N)) < batch.count
  return jax.vmap(
    lambda logits: classification_metrics(num_classes).single_from_model_output(
      logits=logits, labels=targets_N, mask=real_N & (targets_N >= 0)
    )
  )(logits_RxNxC)


def evaluated_params(state: State):
  """The weights that count: their moving average where there is one."""
  return state.params if state.average is None else state.average
