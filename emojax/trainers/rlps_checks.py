"""What a config of RLPS has to be."""

from collections.abc import Collection

import jax
import ml_collections

from emojax import checks
from emojax.data import noise, splits
from emojax.errors import UserError
from emojax.systems import classifiers


def check(
  config: ml_collections.ConfigDict,
  systems: Collection[str],
  rivals: Collection[str],
) -> None:
  """Values that would otherwise fail late, or not at all.

  Args:
    config: a whole config.
    systems: all that there are.
    rivals: those that remove as many as `rlps` does.

  Raises:
    UserError: a value that can not be.
  """
  checks.common(config)
  _check_policies(config)
  checks.positive(
    config,
    *("pretraining_epochs", "optimizer.learning_rate", "optimizer.decay_every"),
    "optimizer.decay_rate",
  )
  checks.not_negative(
    config,
    *("optimizer.weight_decay", "optimizer.clip_value"),
    "optimizer.decay_start",
  )
  checks.fraction(config, "optimizer.momentum", "retention_floor")
  checks.choices(config, "systems", tuple(systems))
  if not config.systems:
    raise UserError("config.systems: name one at least")
  named = [name for name in config.systems if name in rivals]
  place = {name: index for index, name in enumerate(config.systems)}
  if any(place.get("rlps", len(place)) > place[name] for name in named):
    raise UserError(
      f"config.systems = {config.systems}: {named[0]} removes as many as rlps "
      "does; name rlps before it"
    )
  if config.batch_size % jax.device_count():
    raise UserError(
      f"config.batch_size = {config.batch_size}: has to be a multiple of the "
      f"{jax.device_count()} devices, over which a batch is cut"
    )
  noise.check(config)
  classifiers.check(config)
  if config.model.classifier == classifiers.SPEECH:
    if "intercepted" in config.data.noise:
      raise UserError("config.data.noise: intercepted noise is of images")
  elif config.split.method != "official":
    raise UserError(
      f"config.split.method = {config.split.method!r}: corpora of faces come "
      "in parts; set it to official"
    )
  splits.check(config.split)


def _check_policies(config: ml_collections.ConfigDict) -> None:
  """Checks `config.policy` and `config.label_policy`."""
  fields = ("widths", "batch_size", "learning_rate")
  for policy in ("policy", "label_policy"):
    checks.positive(config, *(f"{policy}.{field}" for field in fields))
  checks.not_negative(config, "policy.pretraining_epochs")
  checks.positive(config, "label_policy.epochs", "label_policy.entropy_bonus")
  checks.fraction(config, "label_policy.right_share", "label_policy.floor")
  if not -1 <= config.policy.removed_credit <= 1:
    raise UserError(
      f"config.policy.removed_credit = {config.policy.removed_credit}: has to "
      "be from -1 to 1"
    )
  if config.label_policy.folds < 2:
    raise UserError(
      f"config.label_policy.folds = {config.label_policy.folds}: has to be 2 "
      "or more"
    )
