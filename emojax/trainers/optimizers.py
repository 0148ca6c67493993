"""The optimizers of all studies, and their schedules."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
import optax

from emojax.errors import UserError

_WARM_UP = 0.1  # Share of the updates, of the one-cycle schedule.
_FIRST_CYCLE = 10  # The first of the warm restarts comes after a tenth.


def one_cycle(peak: float, num_updates: int) -> optax.Schedule:
  """From peak / 25 to the peak in the first tenth, then to peak / 250,000.

  Along cosines: Smith & Topin 2018, as PyTorch has it.
  """
  # Optax needs two updates at least, to have a peak between them.
  return optax.cosine_onecycle_schedule(
    max(num_updates, 2), peak, pct_start=_WARM_UP
  )


def warm_restarts(peak: float, num_updates: int) -> optax.Schedule:
  """Cosines from the peak to 0: Loshchilov & Hutter 2017.

  The first is a tenth of the training long, and each one twice as long as the
  one before.
  """
  cycles, boundaries = [], []
  length, end = -(-num_updates // _FIRST_CYCLE), 0
  while end < num_updates:
    cycles.append(optax.cosine_decay_schedule(peak, length))
    end += length
    boundaries.append(end)
    length *= 2
  return optax.join_schedules(cycles, boundaries[:-1])


# By name: the learning rate over the updates of a training, from the largest
# one and the number of updates.
SCHEDULES: Mapping[str, Callable[[float, int], optax.Schedule]] = {
  "constant": lambda peak, num_updates: optax.constant_schedule(peak),
  "one_cycle": one_cycle,
  "cosine": optax.cosine_decay_schedule,  # To 0, without restarts (ibid.).
  "warm_restarts": warm_restarts,
}


def adam(
  config: ml_collections.ConfigDict, num_steps: int
) -> optax.GradientTransformation:
  """AdamW, with a learning rate of its own for the parameters of `encoder`.

  Args:
    config: a `config.optimizer` of the speech study.
    num_steps: batches of the whole training.

  Raises:
    UserError: there are fewer batches than one update takes.
  """
  num_updates = num_steps // config.accumulate
  if not num_updates:
    raise UserError(
      f"config.optimizer.accumulate = {config.accumulate}: the training has "
      f"{num_steps} batches, so there would be no update"
    )
  schedule = SCHEDULES[config.schedule](config.learning_rate, num_updates)
  ratio = config.encoder_learning_rate / config.learning_rate
  optimizer = optax.chain(
    optax.clip_by_global_norm(config.clip_norm)
    if config.clip_norm
    else optax.identity(),
    optax.scale_by_adam(),
    optax.add_decayed_weights(config.weight_decay),
    optax.scale_by_learning_rate(schedule),
    optax.stateless(lambda updates, params: _scale_encoder(updates, ratio)),
  )
  if config.accumulate == 1:
    return optimizer
  return optax.MultiSteps(optimizer, config.accumulate)


@functools.partial(
  optax.inject_hyperparams,
  static_args=("momentum", "weight_decay", "clip_value"),
)
def sgd(
  learning_rate: float, momentum: float, weight_decay: float, clip_value: float
) -> optax.GradientTransformation:
  """Gradient descent with momentum, and L2 on the gradient.

  The learning rate is a part of its state: see `with_learning_rate`.

  Args:
    learning_rate: at first.
    momentum: share of the last update that is kept.
    weight_decay: of the L2 penalty.
    clip_value: bound on each component of the gradient; 0 for none.
  """
  return optax.chain(
    optax.clip(clip_value) if clip_value else optax.identity(),
    optax.add_decayed_weights(weight_decay),
    optax.trace(momentum),
    optax.scale_by_learning_rate(learning_rate),
  )


def with_learning_rate(state: Any, learning_rate: jax.Array) -> Any:
  """The state of an optimizer with injected hyperparameters, at another rate.

  Args:
    state: of `sgd`.
    learning_rate: float32 scalar, from the next update on.
  """
  return state._replace(
    hyperparams={**state.hyperparams, "learning_rate": learning_rate}
  )


def adam_l2(l2: float) -> optax.GradientTransformation:
  """Adam with L2 on the gradient, without a learning rate.

  The DANN study multiplies with each run's own.

  Args:
    l2: factor of the parameters in the gradient.
  """
  return optax.chain(optax.add_decayed_weights(l2), optax.scale_by_adam())


def _scale_encoder(updates: Mapping[str, Any], ratio: float):
  return {
    name: jax.tree.map(lambda u: ratio * u, tree) if name == "encoder" else tree
    for name, tree in updates.items()
  }
