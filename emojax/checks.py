"""Checks of config values that end with one line for the user.

Each takes a config and dotted names of its fields, and raises a `UserError` of
the first one that is wrong.
"""

import csv
import functools
import io
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from emojax.errors import UserError

Config = Mapping[str, Any]


def common(config: Config) -> None:
  """Numbers that every system's config has, see `configs/common.py`."""
  counts = "num_replicates", "num_epochs", "batch_size", "checkpoint_every"
  positive(config, *counts)
  not_negative(config, "data.max_skipped", "data.num_workers")
  seeds = "seed", "split.seed"
  _require(config, seeds, lambda x: 0 <= x < 2**32, "in 0 to 2^32 - 1")


def positive(config: Config, *fields: str) -> None:
  """Each is a finite number above 0, or a tuple of such numbers."""
  _require(config, fields, lambda x: x > 0, "above 0")


def not_negative(config: Config, *fields: str) -> None:
  """Each is a finite number of at least 0, or a tuple of such numbers."""
  _require(config, fields, lambda x: x >= 0, "at least 0")


def fraction(config: Config, *fields: str) -> None:
  """Each is a number of at least 0 and below 1."""
  _require(config, fields, lambda x: 0 <= x < 1, "at least 0 and below 1")


def distinct(config: Config, *fields: str) -> None:
  """Each is a tuple of numbers that differ as they are printed."""
  for field in fields:
    values = _get(config, field)
    if len({f"{value:g}" for value in values}) < len(values):
      raise UserError(f"config.{field} = {values!r}: name each number once")


def choice(config: Config, field: str, known: Iterable[Any]) -> None:
  """The field is one of the `known` values."""
  value, known = _get(config, field), list(known)
  if value not in known:
    raise UserError(
      f"config.{field} = {value!r}: there are {', '.join(map(str, known))}"
    )


def choices(config: Config, field: str, known: Iterable[str]) -> None:
  """The field is a tuple, or comma-separated text, of some `known` names."""
  value, known = _get(config, field), list(known)
  names = value.split(",") if isinstance(value, str) else value
  names = [str(name).strip() for name in names]
  unknown = [name for name in names if name not in known]
  if unknown:
    several = "" if isinstance(value, str) else "; several are ('a', 'b')"
    raise UserError(
      f"config.{field} = {value!r}: no {', '.join(unknown)}; there are "
      f"{', '.join(known)}{several}"
    )
  if len(set(names)) < len(names):
    raise UserError(f"config.{field} = {value!r}: name each once")


def names(text: str) -> list[str]:
  """The names in a comma-separated value, without blanks around them.

  One that holds a comma stands in double quotes, as in a CSV file: `"Smith,
  Jo",spk02`. Between two commas there may be nothing.
  """
  rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
  return [name.strip() for row in rows for name in row]


def _require(config: Config, fields, holds, what: str) -> None:
  for field in fields:
    value = _get(config, field)
    numbers = value if isinstance(value, tuple) else (value,)
    if not numbers or not all(
      type(x) in (int, float) and math.isfinite(x) and holds(x) for x in numbers
    ):
      raise UserError(f"config.{field} = {value!r}: has to be {what}")


def _get(config: Config, field: str) -> Any:
  return functools.reduce(operator.getitem, field.split("."), config)
