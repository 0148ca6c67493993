"""The speech study's state, loss and step: the program of one device.

Letters in names: B clips of a batch, C emotions, S domains, P pieces.
"""

import dataclasses
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from emojax import losses
from emojax.audio import augment
from emojax.audio.settings import Settings
from emojax.models.speech_classifier import SpeechClassifier
from emojax.systems import speech

DATA = "data"  # The mesh axis over which batches are cut.


@flax.struct.dataclass
class State:
  """What training changes.

  Attributes:
    step: batches so far.
    params: the parameters that are trained, and no others.
    optimizer: its state.
    best_params: `params` at the best validation so far.
    best_score: their unweighted accuracy; -1 before the first validation.
    best_step: batches they had seen.
  """

  step: jax.Array
  params: Any
  optimizer: optax.OptState
  best_params: Any
  best_score: jax.Array
  best_step: jax.Array


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a system is trained.

  Attributes:
    augmentation: of waveforms, None for none.
    train_encoder: whether the encoder's dropout and masking are active.
    normalise: whether clips get zero mean and unit variance.
    label_smoothing: share of the target spread over all classes.
    mixup: alpha of Beta(alpha, alpha); 0 for no mixup.
    reversal: lambda of the adversary.
    ramp: whether lambda rises as in Ganin et al. 2016.
    num_steps: batches of the whole training.
  """

  augmentation: Settings | None
  train_encoder: bool
  normalise: bool
  label_smoothing: float
  mixup: float
  reversal: float
  ramp: bool
  num_steps: int


def merge(frozen, params):
  """All parameters of the model from the two parts."""
  flat = flax.traverse_util.flatten_dict
  return flax.traverse_util.unflatten_dict({**flat(frozen), **flat(params)})


def init_state(tx: optax.GradientTransformation, params) -> State:
  """The state before training."""
  best = jax.tree.map(jnp.copy, params)
  return State(
    jnp.int32(0), params, tx.init(params), best, jnp.float32(-1), jnp.int32(0)
  )


def loss_fn(
  params, frozen, model: SpeechClassifier, recipe: Recipe, batch, extra, key
):
  """Weighted cross-entropy, and the adversary's.

  Args:
    params: the trained parameters.
    frozen: all others.
    model: the classifier.
    recipe: how it is trained.
    batch: see `pipeline.Reader`; with a `domain` where there is an adversary.
    extra: `class_weight` [C]; `responses` of rooms, [N, R] or None; and
      `reversal`, lambda at this step.
    key: randomness of this device at this step.

  Returns:
    This device's share of the loss: shares add up to the mean over all; and
    the same of both terms.
  """
  augment_key, mix_key, model_key = jax.random.split(key, 3)
  inputs, lengths_B = batch["inputs"], batch["length"]
  if inputs.ndim == 2:
    inputs = speech.to_float(inputs)
    if recipe.augmentation is not None:
      noise_BxS = batch.get("noise")
      if noise_BxS is not None:
        noise_BxS = speech.to_float(noise_BxS)
      inputs, lengths_B = augment.augment(
        augment_key,
        inputs,
        lengths_B,
        noise_BxS,
        extra["responses"],
        recipe.augmentation,
      )
  targets_BxC = losses.smooth_targets(
    batch["label"], model.num_classes, recipe.label_smoothing
  )
  targets = {"emotion": targets_BxC}
  if model.num_domains:
    targets["domain"] = losses.smooth_targets(
      batch["domain"], model.num_domains
    )
  if recipe.mixup:
    inputs, lengths_B, targets = mix(
      mix_key, recipe.mixup, inputs, lengths_B, targets
    )
  logits_BxC, out = forward(
    model,
    merge(frozen, params),
    inputs,
    lengths_B,
    recipe.normalise,
    train=True,
    train_encoder=recipe.train_encoder,
    reversal=extra["reversal"],
    rngs={"dropout": model_key},
  )
  weight_B = batch["weight"] * (targets["emotion"] @ extra["class_weight"])
  emotion_loss = _mean(
    losses.cross_entropies(logits_BxC, targets["emotion"]), weight_B
  )
  parts = {"emotion_loss": emotion_loss}
  if model.num_domains:
    parts["domain_loss"] = _mean(
      losses.cross_entropies(out["domain_logits"], targets["domain"]),
      batch["weight"],
    )
  return sum(parts.values()), parts


def forward(
  model: SpeechClassifier,
  params,
  inputs,
  lengths_B,
  should_normalise: bool,
  train: bool = False,
  train_encoder: bool = False,
  reversal=0.0,
  rngs=None,
):
  """Logits [B, C] and the intermediates, from audio or from cached features.

  Args:
    model: the classifier.
    params: all of them.
    inputs: audio [B, S], full scale at 1, or features [B, T, L, D] of the
      encoder.
    lengths_B: samples, or frames.
    should_normalise: whether audio gets zero mean and unit variance.
    train, reversal: see `SpeechClassifier.classify`.
    train_encoder: see `SpeechClassifier.encode`.
    rngs: of dropout.
  """
  variables = {"params": params}
  if inputs.ndim == 2:
    if should_normalise:
      inputs = speech.normalise(inputs, lengths_B)
    return model.apply(
      variables, inputs, lengths_B, train, reversal, train_encoder, rngs=rngs
    )
  features = tuple(inputs[:, :, layer] for layer in range(inputs.shape[2]))
  mask_BxT = jnp.arange(inputs.shape[1])[None] < lengths_B[:, None]
  return model.apply(
    variables,
    features,
    mask_BxT,
    train,
    reversal,
    method=SpeechClassifier.classify,
    rngs=rngs,
  )


def mix(key, alpha: float, inputs, lengths_B, targets):
  """Mixes each example with another: Zhang et al. 2018, "mixup".

  Args:
    key: randomness.
    alpha: of Beta(alpha, alpha), from which each share is drawn.
    inputs: [B, ...], zeros after the end.
    lengths_B: the mixture is as long as the longer one.
    targets: distributions [B, ...], any tree of them.
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


def train_step(
  model: SpeechClassifier,
  tx: optax.GradientTransformation,
  recipe: Recipe,
  state: State,
  frozen,
  batch,
  extra,
  key,
):
  """One step on this device's part of the batch.

  Args:
    model: the classifier.
    tx: see `optimizers.make`.
    recipe: how it is trained.
    state: before the step.
    frozen: the parameters that stay.
    batch: this device's part.
    extra: `class_weight` and `responses`, see `loss_fn`.
    key: of the run.

  Returns:
    The next state, and the losses over the whole batch.
  """
  key = jax.random.fold_in(key, state.step)
  key = jax.random.fold_in(key, jax.lax.axis_index(DATA))
  reversal = jnp.float32(recipe.reversal)
  if recipe.ramp:
    # Ganin et al. 2016, "Domain-adversarial training of neural networks",
    # 5.2.2.
    share = state.step / recipe.num_steps
    reversal *= 2 / (1 + jnp.exp(-10 * share)) - 1
  grads, metrics = jax.grad(loss_fn, has_aux=True)(
    state.params,
    frozen,
    model,
    recipe,
    batch,
    {**extra, "reversal": reversal},
    key,
  )
  grads, metrics = jax.lax.psum((grads, metrics), DATA)
  updates, optimizer = tx.update(grads, state.optimizer, state.params)
  params = optax.apply_updates(state.params, updates)
  return state.replace(
    step=state.step + 1, params=params, optimizer=optimizer
  ), metrics


def keep_best(state: State, score) -> State:
  """Keeps the parameters if none had a better validation score before them."""
  is_better = score > state.best_score

  def choose(new, old):
    return jnp.where(is_better, new, old)

  return state.replace(
    best_params=jax.tree.map(choose, state.params, state.best_params),
    best_score=choose(score, state.best_score),
    best_step=choose(state.step, state.best_step),
  )


def _mean(values_B, weight_B):
  """This device's share of the weighted mean over all devices."""
  total = jax.lax.psum(weight_B.sum(), DATA)
  return (values_B * weight_B).sum() / jnp.maximum(total, 1e-8)
