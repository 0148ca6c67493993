"""The optimizers of all studies, and their schedules."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from emojax.errors import UserError


def one_cycle(peak: float, num_updates: int) -> optax.Schedule:
  """From peak / 25 to the peak in the first tenth, then to peak / 250,000.

  Along cosines: Smith & Topin 2018, as PyTorch has it. The first tenth is one
  update at least.
  """
  # Optax needs two updates, to have a peak between them.
  num_updates = max(num_updates, 2)
  warm_up = max(0.1, 1 / num_updates)
  return optax.cosine_onecycle_schedule(num_updates, peak, pct_start=warm_up)


def warm_restarts(peak: float, num_updates: int) -> optax.Schedule:
  """Cosines to 0, each twice as long as the last: Loshchilov & Hutter 2017."""
  cycles, boundaries = [], []
  length, end = -(-num_updates // 10), 0
  while end < num_updates:
    cycles.append(optax.cosine_decay_schedule(peak, length))
    end += length
    boundaries.append(end)
    length *= 2
  return optax.join_schedules(cycles, boundaries[:-1])


def ganin_ramp(step: jax.Array, num_steps: jax.Array | int) -> jax.Array:
  """The share of lambda that holds at a step, from 0 towards 1, float32.

  2 / (1 + exp(-10 p)) - 1 for p, the share of the steps that are done: Ganin et
  al. 2016, "Domain-adversarial training of neural networks", section 5.2.2.
  """
  return 2 / (1 + jnp.exp(-10 * step / num_steps)) - 1


def moving_average(
  average: Any, params: Any, decay: jax.Array | float, step: jax.Array
) -> Any:
  """The moving average of weights after one more step, `step` from 0.

  d a + (1 - d) p, with d = min(decay, (1 + step) / (10 + step)) as TensorFlow
  has it (`tf.train.ExponentialMovingAverage`): early on, an average over the
  few steps so far, not of the first weights. The average itself is that of
  Polyak & Juditsky 1992, "Acceleration of stochastic approximation by
  averaging", with weights that decay.
  """
  decay = jnp.minimum(decay, (1 + step) / (10 + step))
  return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)


# From the largest learning rate and the number of updates of a training.
SCHEDULES: Mapping[str, Callable[[float, int], optax.Schedule]] = {
  "constant": lambda peak, num_updates: optax.constant_schedule(peak),
  "one_cycle": one_cycle,
  "cosine": optax.cosine_decay_schedule,
  "warm_restarts": warm_restarts,
}


@functools.cache
def adam(
  config: ml_collections.FrozenConfigDict,
  num_steps: int,
  draws_encoder: bool = False,
) -> optax.GradientTransformation:
  """AdamW, with learning rates of their own for `encoder` and `pool`.

  Args:
    config: a `config.optimizer`.
    num_steps: batches of the whole training.
    draws_encoder: whether the encoder is drawn anew, as the head is, and so is
      trained at the same rate.

  Raises:
    UserError: the training has fewer batches than one update takes.
  """
  num_updates = num_steps // config.accumulate
  if not num_updates:
    raise UserError(
      f"config.optimizer.accumulate = {config.accumulate}: the training has "
      f"{num_steps} batches, so there would be no update"
    )
  rates = {"pool": config.pooling_learning_rate or config.learning_rate}
  if not draws_encoder:
    rates["encoder"] = config.encoder_learning_rate
  clip_norm = config.clip_norm

  def scale_parts(updates, params):
    del params
    return {
      name: _scaled(rates.get(name, config.learning_rate), part)
      for name, part in updates.items()
    }

  def _scaled(rate, part):
    return jax.tree.map(lambda u: rate / config.learning_rate * u, part)

  optimizer = optax.chain(
    optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
    optax.scale_by_adam(),
    optax.add_decayed_weights(config.weight_decay),
    optax.scale_by_learning_rate(
      SCHEDULES[config.schedule](config.learning_rate, num_updates)
    ),
    optax.stateless(scale_parts),
  )
  if config.accumulate == 1:
    return optimizer
  return optax.MultiSteps(optimizer, config.accumulate)


@functools.cache
@functools.partial(
  optax.inject_hyperparams,
  static_args=("momentum", "weight_decay", "clip_value"),
)
def sgd(
  learning_rate: float, momentum: float, weight_decay: float, clip_value: float
) -> optax.GradientTransformation:
  """Momentum, with L2 on the gradient, which is clipped where it is not 0.

  The learning rate is a part of its state: see `with_learning_rate`.
  """
  return optax.chain(
    optax.clip(clip_value) if clip_value else optax.identity(),
    optax.add_decayed_weights(weight_decay),
    optax.trace(momentum),
    optax.scale_by_learning_rate(learning_rate),
  )


def with_learning_rate(state: Any, learning_rate: jax.Array) -> Any:
  """The state of `sgd` at another rate, float32, from the next update on."""
  hyperparams = {**state.hyperparams, "learning_rate": learning_rate}
  return state._replace(hyperparams=hyperparams)


def adam_l2(l2: float) -> optax.GradientTransformation:
  """Adam with L2 on the gradient; DANN's runs each have their own rate."""
  return optax.chain(optax.add_decayed_weights(l2), optax.scale_by_adam())
