"""The optimizer of the speech study and its schedules."""

from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import optax

from emojax.errors import UserError

SCHEDULES = ("constant", "one_cycle", "cosine", "warm_restarts")
_WARM_UP = 0.1  # Share of the updates, of the one-cycle schedule.
_FIRST_CYCLE = 10  # The first of the warm restarts comes after a tenth.


def schedule(name: str, peak: float, num_updates: int) -> optax.Schedule:
  """The learning rate over the updates of a training.

  Args:
    name: "constant"; "one_cycle": from peak / 25 to the peak in the first
      tenth, then to peak / 250,000, along cosines (Smith & Topin 2018, as
      PyTorch has it); "cosine": from the peak to 0 (Loshchilov & Hutter 2017);
      "warm_restarts": cosines, the first a tenth of the training long and each
      one twice as long as the one before (ibid.).
    peak: the largest learning rate.
    num_updates: of the whole training.
  """
  if name == "one_cycle":
    # Optax needs two updates at least, to have a peak between them.
    return optax.cosine_onecycle_schedule(
      max(num_updates, 2), peak, pct_start=_WARM_UP
    )
  if name == "cosine":
    return optax.cosine_decay_schedule(peak, num_updates)
  if name == "warm_restarts":
    cycles, boundaries = [], []
    length, end = -(-num_updates // _FIRST_CYCLE), 0
    while end < num_updates:
      cycles.append(optax.cosine_decay_schedule(peak, length))
      end += length
      boundaries.append(end)
      length *= 2
    return optax.join_schedules(cycles, boundaries[:-1])
  return optax.constant_schedule(peak)


def make(
  config: ml_collections.ConfigDict, num_steps: int
) -> optax.GradientTransformation:
  """Adam, with a learning rate of its own for the encoder.

  Args:
    config: a `config.optimizer`.
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
  ratio = config.encoder_learning_rate / config.learning_rate

  def scale_encoder(updates, params=None):
    del params
    return _scale_encoder(updates, ratio)

  parts = [
    optax.clip_by_global_norm(config.clip_norm)
    if config.clip_norm
    else optax.identity(),
    optax.scale_by_adam(),
    optax.add_decayed_weights(config.weight_decay),
    optax.scale_by_learning_rate(
      schedule(config.schedule, config.learning_rate, num_updates)
    ),
    optax.stateless(scale_encoder),
  ]
  optimizer = optax.chain(*parts)
  if config.accumulate == 1:
    return optimizer
  return optax.MultiSteps(optimizer, config.accumulate)


def _scale_encoder(updates: Mapping[str, Any], ratio: float):
  return {
    name: jax.tree.map(lambda u: ratio * u, tree) if name == "encoder" else tree
    for name, tree in updates.items()
  }
