"""Checks of config values that end with one line for the user."""

import ml_collections

from emojax.errors import UserError


def positive(config: ml_collections.ConfigDict, *fields: str) -> None:
  """Every field is above 0.

  Raises:
    UserError: names the first that is not.
  """
  for field in fields:
    value = _get(config, field)
    if not value > 0:
      raise UserError(f"config.{field} = {value!r}: has to be above 0")


def not_negative(config: ml_collections.ConfigDict, *fields: str) -> None:
  """Every field is a tuple of one or more numbers of at least 0.

  Raises:
    UserError: names the first that is not.
  """
  for field in fields:
    values = _get(config, field)
    if not values or not all(
      isinstance(value, int | float) and value >= 0 for value in values
    ):
      raise UserError(
        f"config.{field} = {values!r}: has to be numbers of at least 0"
      )


def choices(
  config: ml_collections.ConfigDict, field: str, known: tuple[str, ...]
) -> None:
  """The field is a tuple, or comma-separated text, of `known` names.

  Raises:
    UserError: names what is not known.
  """
  value = _get(config, field)
  names = value.split(",") if isinstance(value, str) else value
  unknown = [str(n) for n in names if str(n).strip() not in known]
  if unknown:
    raise UserError(
      f"config.{field} = {value!r}: no {', '.join(unknown)}; there are "
      f"{', '.join(known)}"
    )


def _get(config: ml_collections.ConfigDict, field: str):
  for name in field.split("."):
    config = config[name]
  return config
