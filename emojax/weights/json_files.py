"""JSON objects that come with weights, however an editor left them."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from emojax.errors import UserError
from emojax.runtime import files
from emojax.weights import folders

_CONFIG = "config.json"
_MOST = 2**24  # Of any size in a config: words, samples, values of a layer.
_MOST_BYTES = 2**26  # Of the indices of the largest models 1 %.


def read(path: pathlib.Path, mend: str = "download it again") -> dict[str, Any]:
  """Reads an object in UTF-8 or UTF-16, with a byte order mark or without.

  Raises:
    FileNotFoundError: there is no such file.
    UserError: it holds something else, or one key with two values.
  """
  if not path.is_file():
    raise FileNotFoundError(path)
  try:
    content = json.loads(text(path), object_pairs_hook=_object)
  except (ValueError, RecursionError, OSError) as error:
    why = files.instead(path) or f"not readable as JSON ({error}); {mend}"
    raise UserError(f"{path}: {why}") from error
  if not isinstance(content, dict):
    raise UserError(
      f"{path}: holds no JSON object but a {type(content).__name__}; {mend}"
    )
  return content


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """Reads `config.json`; a UserError where it is no object, or not there."""
  try:
    return read(folder / _CONFIG)
  except FileNotFoundError as error:
    why = folders.hint(folder, (_CONFIG,)) or (
      "a checkpoint is a folder as transformers saves it"
    )
    raise UserError(f"{folder}: no {_CONFIG}; {why}") from error


def known_fields(
  config_class: type, fields: Mapping[str, Any], source: str
) -> dict[str, Any]:
  """Picks the fields of a config that a dataclass has, lists as tuples.

  A whole number may be written as 2.0, and true as 1. Raises a UserError if one
  is of another type than the dataclass's default, no number, or out of bounds.
  """
  known = {}
  for field in dataclasses.fields(config_class):
    if field.name in fields:
      value = _as(field.default, fields[field.name])
      if value is None:
        kind = type(field.default).__name__
        raise UserError(
          f"{source}: {field.name} = {fields[field.name]!r:.80} is no "
          f"{'list of int' if kind == 'tuple' else kind} that makes sense; is "
          "this file damaged?"
        )
      known[field.name] = value
  return known


def _as(default: Any, value: Any) -> Any:
  """The value as the type of a default; None if it is none of that."""
  match default:
    case bool():
      fits = type(value) in (bool, int, float) and value in (0, 1)
      return bool(value) if fits else None
    case int():
      fits = type(value) in (int, float) and 0 <= value <= _MOST
      return int(value) if fits and value == int(value) else None
    case float():
      fits = type(value) in (int, float) and 0 <= value < math.inf
      return value if fits else None
    case tuple():
      values = [_as(1, x) for x in value] if isinstance(value, list) else []
      return tuple(values) if values and None not in values else None
  return value if isinstance(value, type(default)) else None


def text(path: pathlib.Path) -> str:
  """The text of a file; a ValueError or OSError where it has none."""
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f"more than {_MOST_BYTES // 2**20} MiB")
  content = path.read_bytes()
  if content.startswith((b"\xff\xfe", b"\xfe\xff")):
    return content.decode("utf-16")
  return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-8-sig")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
  made = dict(pairs)
  if len(made) < len(pairs):
    for key, value in pairs:
      if value != made[key]:
        raise ValueError(
          f"{key!r} is there twice, with {value!r:.40} and {made[key]!r:.40}"
        )
  return made
