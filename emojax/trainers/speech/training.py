"""Training of one system on one split: the functions that the loop needs.

U clips of a part, C emotions.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from emojax import loop, losses
from emojax.data import pipeline
from emojax.data.clips import Material
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.metrics import classification_metrics
from emojax.runtime import sharding
from emojax.runtime.sharding import DATA, REPLICATED
from emojax.systems import speech
from emojax.trainers.speech import build, optimizers, parts, step
from emojax.trainers.speech.build import Blueprint
from emojax.trainers.speech.parts import Resources
from emojax.trainers.speech.step import Recipe, State


class Training:
  """One system on one split, for any number of initialisations."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    blueprint: Blueprint,
    material: Material,
    split: Split,
    resources: Resources,
  ):
    """Cuts the clips, encodes them if the encoder stays as it is, compiles.

    Args:
      config: a whole config.
      blueprint: the system.
      material: the clips.
      split: training, validation and test part.
      resources: of the augmentation.
    """
    if config.adversary.domain != "none":
      num_domains, _ = parts.domains(config, material, split)
      if num_domains < 2:
        raise UserError(
          f"config.adversary.domain = {config.adversary.domain!r}: the "
          "training part has only one, and there is nothing to forget"
        )
      blueprint = blueprint.with_domains(num_domains)
    self.blueprint = blueprint
    self._config = config
    self._material = material
    self._mesh = sharding.make_mesh(jax.device_count())
    self._by_clip = jax.sharding.NamedSharding(self._mesh, DATA)
    masks = build.masks_features(config)
    self._is_cached = not (
      blueprint.trains_encoder or masks or resources.augmentation
    )
    system = blueprint.system
    if self._is_cached:
      encoder = step.merge(*self._first_params(0))["encoder"]
      self.parts = parts.from_features(
        config, system, encoder, material, split, self._mesh
      )
    else:
      self.parts = parts.from_audio(config, material, split, resources)
    train = self.parts["train"]
    self._plan = pipeline.Plan(
      train.lengths_P, train.sizes, config.batch_size, config.num_epochs
    )
    self._steps_per_round = config.steps_per_round or self._plan.steps_per_epoch
    self.num_rounds = math.ceil(len(self._plan) / self._steps_per_round)
    weights_C = build.class_weights(
      train.reader.fields["label"], len(material.classes), config.class_weights
    )
    self._extra = self._place(
      {"class_weight": weights_C, "responses": resources.responses}
    )
    recipe = Recipe(
      augmentation=resources.augmentation,
      train_encoder=blueprint.trains_encoder or masks,
      normalise=system.normalise,
      label_smoothing=config.label_smoothing,
      mixup=config.mixup,
      reversal=config.adversary.reversal,
      ramp=config.adversary.ramp,
      num_steps=len(self._plan),
    )
    self._compile(recipe)

  def study(
    self,
    seed: int,
    summarize: Callable[[Any, dict, loop.History], loop.Results],
    pictures: Callable[[loop.Record], dict[str, np.ndarray]],
  ) -> loop.Study:
    """One initialisation, for `loop.run`.

    Args:
      seed: of the weights, the order of clips and everything else random.
      summarize: gets this training, the trained parameters at the best
        validation, how good that was and when, and the history.
      pictures: of a round's record, for TensorBoard.
    """
    frozen = self._frozen(seed)
    key = self._place(self._key(seed))
    batches = _Batches(functools.partial(self._batches, seed))

    def round_(state: State, number: int):
      losses_so_far = []
      for index in self._steps_of(number):
        batch = batches.take(index)
        state, metrics = self._step(state, frozen, batch, self._extra, key)
        losses_so_far.append(metrics)
      logits_UxC = self.logits(state.params, frozen, "validation")
      state, record = self._validate(state, logits_UxC)
      return state, _mean(losses_so_far) | record

    def finish(state: State, history: loop.History) -> loop.Results:
      best = {
        "validation_unweighted_accuracy": float(state.best_score),
        "best_epoch": int(state.best_step) / self._plan.steps_per_epoch,
      }
      return summarize(self, state.best_params, best, history)

    return loop.Study(
      init=lambda: self._init(self._place(self._first_params(seed)[0])),
      round=round_,
      evaluate=lambda state: {},
      summarize=finish,
      pictures=pictures,
    )

  def logits(self, params, frozen, name: str) -> jax.Array:
    """Mean logits over the pieces of each clip of a part, [U, C]."""
    part = self.parts[name]
    plan = pipeline.Plan(part.lengths_P, part.sizes, self._config.batch_size)
    total_UxC = self._place(
      jnp.zeros((len(part.rows), len(self._material.classes)))
    )
    for batch in pipeline.batches(plan, part.reader, self._by_clip):
      logits_BxC = self._forward(params, frozen, batch)
      total_UxC = _add(total_UxC, logits_BxC, batch["weight"], batch["clip"])
    counts_U = np.bincount(part.clip_P, minlength=len(part.rows))
    return total_UxC / counts_U[:, None].astype(np.float32)

  def final_logits(self, seed: int, trained, name: str) -> np.ndarray:
    """The same of an initialisation's parameters, on the host."""
    return np.asarray(self.logits(trained, self._frozen(seed), name))

  def labels(self, name: str) -> np.ndarray:
    """The emotion of each clip of a part, [U]."""
    return self._material.class_U[self.parts[name].rows]

  def _key(self, seed: int) -> jax.Array:
    return build.run_key(self._config, seed)

  def _first_params(self, seed: int):
    return self.blueprint.init(self._key(seed))

  def _frozen(self, seed: int):
    """What the steps need of the parameters that stay."""
    _, frozen = self._first_params(seed)
    return self._place({} if self._is_cached else frozen)

  def _place(self, tree):
    return sharding.place(tree, self._mesh, REPLICATED)

  def _steps_of(self, round_: int) -> range:
    start = round_ * self._steps_per_round
    return range(start, min(start + self._steps_per_round, len(self._plan)))

  def _batches(self, seed: int, start: int):
    seeds = (self._config.seed, seed)
    return pipeline.batches(
      dataclasses.replace(self._plan, seed=seeds),
      dataclasses.replace(self.parts["train"].reader, seed=seeds),
      self._by_clip,
      start,
      self._config.data.num_workers,
    )

  def _compile(self, recipe: Recipe) -> None:
    system, config = self.blueprint.system, self._config
    model = system.model(config.model.remat)
    tx = optimizers.make(config.optimizer, recipe.num_steps)
    self._init = jax.jit(functools.partial(step.init_state, tx))
    self._step = sharding.mapped(
      functools.partial(step.train_step, model, tx, recipe),
      self._mesh,
      (REPLICATED, REPLICATED, DATA, REPLICATED, REPLICATED),
      (REPLICATED, REPLICATED),
      donate_argnums=(0,),
    )

    def forward(params, frozen, batch):
      inputs = batch["inputs"]
      if inputs.ndim == 2:
        inputs = speech.to_float(inputs)
      params = step.merge(frozen, params)
      return step.forward(
        model, params, inputs, batch["length"], system.normalise
      )[0]

    self._forward = sharding.mapped(
      forward, self._mesh, (REPLICATED, REPLICATED, DATA), DATA
    )
    self._validate = jax.jit(
      functools.partial(
        _validate, len(self._material.classes), self.labels("validation")
      ),
      donate_argnums=(0,),
    )


class _Batches:
  """Training batches in order, read from the first that is asked for."""

  def __init__(self, open_at: Callable[[int], Any]):
    self._open_at = open_at
    self._iterator, self._next = None, -1

  def take(self, index: int):
    if index != self._next:
      self._iterator = self._open_at(index)
    self._next = index + 1
    return next(self._iterator)


def _validate(num_classes: int, labels_U, state: State, logits_UxC):
  """Keeps the best parameters, and gives the figures of the validation."""
  collection = classification_metrics(num_classes).single_from_model_output(
    logits=logits_UxC, labels=labels_U
  )
  figures = collection.compute()
  target_UxC = losses.smooth_targets(labels_U, num_classes)
  figures["loss"] = losses.cross_entropies(logits_UxC, target_UxC).mean()
  state = step.keep_best(state, figures["unweighted_accuracy"])
  return state, {f"validation_{k}": v for k, v in figures.items()}


@functools.partial(jax.jit, donate_argnums=0)
def _add(total_UxC, logits_BxC, weight_B, clip_B):
  # A product: on GPUs the order of a scatter's sums differs each time.
  share_BxU = jax.nn.one_hot(clip_B, len(total_UxC)) * weight_B[:, None]
  return total_UxC + jnp.einsum(
    "bu,bc->uc", share_BxU, logits_BxC, precision="highest"
  )


@jax.jit
def _mean(steps):
  return jax.tree.map(lambda *values: jnp.stack(values).mean(0), *steps)
