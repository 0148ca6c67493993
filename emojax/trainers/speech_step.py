"""One step of a speech emotion classifier: state, loss, update, validation.

After the public repository ukpaudel/emotion_classifier, see
`configs/speech.py`.

Letters in names: B clips of a batch, U clips of a part, C emotions.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax.audio import augment
from emojax.audio.settings import Settings
from emojax.metrics import ClassificationMetrics
from emojax.models.speech_classifier import SpeechClassifier
from emojax.runtime import sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.systems import speech, untrained
from emojax.systems.speech import SpeechSystem
from emojax.trainers import fit, optimizers
from emojax.trainers.fit import Best, Learner


@flax.struct.dataclass
class State:
  """What a training changes: the learner, and what it was at its best."""

  learner: Learner
  best: Best


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What is trained and how; see `configs/speech.py` for most of it."""

  system: SpeechSystem
  model: SpeechClassifier
  augmentation: Settings | None = None
  train_encoder: bool = True  # Whether its dropout and masking are active.
  label_smoothing: float = 0.0
  mixup: float = 0.0
  reversal: float = 0.0  # Lambda of the adversary,
  ramp: bool = False  # which rises to it.
  num_steps: int = 1  # Batches of the whole training.
  shards_parameters: bool = False  # Over all devices.


def init_state(tx: optax.GradientTransformation, trained: Any) -> State:
  """The state before training."""
  learner = fit.init_learner(tx, {"params": trained})
  return State(learner, fit.init_best(learner))


def loss_fn(recipe: Recipe, params, model_state, key, frozen, batch, extra):
  """Weighted cross-entropy, and the adversary's; see `fit.train_step`.

  Args:
    recipe: how the classifier is trained.
    params: the parameters that are trained; `frozen` are all others.
    model_state: empty.
    key: randomness of this step.
    frozen: see above.
    batch: see `pipeline.Reader`; with a `domain` where there is an adversary.
    extra: `class_weight` [C]; `responses` of rooms, [N, R] or None; and
      `reversal`, lambda at this step.
  """
  model = recipe.model
  augment_key, mix_key, model_key = jax.random.split(key, 3)
  inputs, lengths_B = batch["inputs"], batch["length"]
  if inputs.ndim == 2 and recipe.augmentation is not None:
    noise_BxS = batch.get("noise")
    inputs, lengths_B = augment.augment(
      augment_key,
      speech.to_float(inputs),
      lengths_B,
      noise_BxS if noise_BxS is None else speech.to_float(noise_BxS),
      extra["responses"],
      recipe.augmentation,
    )
  emotion_BxC = jax.nn.one_hot(batch["label"], model.num_classes)
  targets = {
    "emotion": optax.smooth_labels(emotion_BxC, recipe.label_smoothing)
  }
  if model.num_domains:
    targets["domain"] = jax.nn.one_hot(batch["domain"], model.num_domains)
  if recipe.mixup:
    inputs, lengths_B, targets = fit.mixup(
      mix_key, recipe.mixup, speech.to_float(inputs), lengths_B, targets
    )
  logits_BxC, out = recipe.system.apply(
    model,
    untrained.merge(frozen, params),
    inputs,
    lengths_B,
    train=True,
    reversal=extra["reversal"],
    train_encoder=recipe.train_encoder,
    rngs={"dropout": model_key},
  )
  weight_B = batch["weight"] * (targets["emotion"] @ extra["class_weight"])
  losses = {
    "emotion_loss": fit.weighted_cross_entropy(
      logits_BxC, targets["emotion"], weight_B
    )
  }
  if model.num_domains:
    losses["domain_loss"] = fit.weighted_cross_entropy(
      out["domain_logits"], targets["domain"], batch["weight"]
    )
  return sum(losses.values()), (losses, model_state)


def train_step(recipe: Recipe, tx, learner: Learner, key, frozen, batch, extra):
  """One step on a batch.

  Args are those of `loss_fn` and `fit.train_step`; `extra` is without
  `reversal`. Returns the learner after it, and the losses.
  """
  reversal = jnp.float32(recipe.reversal)
  if recipe.ramp:
    reversal *= optimizers.ganin_ramp(learner.step, recipe.num_steps)
  extra = {**extra, "reversal": reversal}
  loss = functools.partial(loss_fn, recipe)
  if recipe.shards_parameters:
    loss = sharding.gathering(loss)
  return fit.train_step(loss, tx, learner, key, frozen, batch, extra)


def validate(
  labels_U: np.ndarray, state: State, logits_UxC: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
  """Keeps the best parameters, and gives the figures of the validation."""
  figures = ClassificationMetrics.from_model_output(
    logits=logits_UxC, labels=labels_U
  ).compute()
  target_UxC = jax.nn.one_hot(labels_U, logits_UxC.shape[1])
  figures["loss"] = optax.softmax_cross_entropy(logits_UxC, target_UxC).mean()
  score, step = figures["unweighted_accuracy"], state.learner.step
  best = fit.keep_best(state.best, state.learner, score, step)
  return State(state.learner, best), {
    f"validation_{name}": value for name, value in figures.items()
  }


def forward(recipe: Recipe, trained, frozen, batch) -> jax.Array:
  """Logits [B, C] of a batch, without anything random."""
  params = untrained.merge(frozen, trained)
  inputs, lengths_B = batch["inputs"], batch["length"]
  return recipe.system.apply(recipe.model, params, inputs, lengths_B)[0]


class Programs(NamedTuple):
  """What a training is made of."""

  init: Callable
  step: Callable
  forward: Callable
  validate: Callable


@functools.cache
def compile_programs(
  recipe: Recipe,
  tx: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  specs_of_leaves: tuple[sharding.PartitionSpec, ...],
  structure: Any,
) -> Programs:
  """Once: folds of one size are trained by the same programs.

  The specs and the structure are those of a state.
  """
  specs = jax.tree.unflatten(structure, specs_of_leaves)
  logits = functools.partial(forward, recipe)
  if recipe.shards_parameters:
    logits = sharding.gathering(logits)
  return Programs(
    init=sharding.compiled(functools.partial(init_state, tx), mesh, specs),
    step=sharding.compiled(
      functools.partial(train_step, recipe, tx),
      *(mesh, (specs.learner, REPLICATED)),
      donate_argnums=(0,),
    ),
    forward=sharding.compiled(logits, mesh, DATA),
    validate=sharding.compiled(
      validate, mesh, (specs, REPLICATED), donate_argnums=(1,)
    ),
  )
