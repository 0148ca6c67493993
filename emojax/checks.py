"""Checks of config values that end with one line for the user."""

import math
from collections.abc import Mapping
from typing import Any

import ml_collections

from emojax.errors import UserError


def positive(config: ml_collections.ConfigDict, *fields: str) -> None:
  """Every field is a finite number above 0, or a tuple of such numbers.

  Raises:
    UserError: names the first that is not.
  """
  for field in fields:
    _require(config, field, lambda x: x > 0, "above 0")


def not_negative(config: ml_collections.ConfigDict, *fields: str) -> None:
  """Every field is a finite number of at least 0, or a tuple of such numbers.

  Raises:
    UserError: names the first that is not.
  """
  for field in fields:
    _require(config, field, lambda x: x >= 0, "at least 0")


def fraction(config: ml_collections.ConfigDict, *fields: str) -> None:
  """Every field is a number of at least 0 and below 1.

  Raises:
    UserError: names the first that is not.
  """
  for field in fields:
    _require(config, field, lambda x: 0 <= x < 1, "at least 0 and below 1")


def distinct(config: ml_collections.ConfigDict, *fields: str) -> None:
  """Every field is a tuple of numbers that differ as they are printed.

  Raises:
    UserError: names the first that is not.
  """
  for field in fields:
    values = _get(config, field)
    if len({f"{value:g}" for value in values}) < len(values):
      raise UserError(f"config.{field} = {values!r}: name each number once")


def choice(
  config: Mapping[str, Any], field: str, known: tuple[str, ...]
) -> None:
  """The field is one of the `known` names.

  Raises:
    UserError: it is not.
  """
  value = _get(config, field)
  if value not in known:
    raise UserError(f"config.{field} = {value!r}: there are {', '.join(known)}")


def choices(
  config: Mapping[str, Any], field: str, known: tuple[str, ...]
) -> None:
  """The field is a tuple, or comma-separated text, of some `known` names.

  Raises:
    UserError: names what is not known, or there twice.
  """
  value = _get(config, field)
  names = value.split(",") if isinstance(value, str) else value
  names = [str(name).strip() for name in names]
  unknown = [name for name in names if name not in known]
  if unknown:
    raise UserError(
      f"config.{field} = {value!r}: no {', '.join(unknown)}; there are "
      f"{', '.join(known)}"
    )
  if len(set(names)) < len(names):
    raise UserError(f"config.{field} = {value!r}: name each once")


def _require(config, field, holds, what) -> None:
  value = _get(config, field)
  numbers = value if isinstance(value, tuple) else (value,)
  if not numbers or not all(
    isinstance(x, int | float) and math.isfinite(x) and holds(x)
    for x in numbers
  ):
    raise UserError(f"config.{field} = {value!r}: has to be {what}")


def _get(config: Mapping[str, Any], field: str):
  for name in field.split("."):
    config = config[name]
  return config
