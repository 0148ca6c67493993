"""Checks that the configs of speech and text encoders share."""

from collections.abc import Mapping, Sequence
from typing import Any

from emojax.encoders.layers import ACTIVATIONS
from emojax.errors import UserError


def family(
  fields: Mapping[str, Any], source: str, kind: str, known: Sequence[str]
) -> str:
  """The `model_type` of a `config.json`, if it is one of the known."""
  found = fields.get("model_type")
  if found not in known:
    raise UserError(
      f"{source}: model_type {found!r} is no {kind} encoder that emojax has; "
      f"it has {', '.join(known)}"
    )
  return found


def check(config: Any, source: str, *activations: str) -> None:
  """Refuses heads that do not divide the width, and unknown activations."""
  if config.hidden_size % config.num_attention_heads:
    raise UserError(
      f"{source}: hidden_size = {config.hidden_size} is no multiple of "
      f"num_attention_heads = {config.num_attention_heads}; is this file "
      "damaged?"
    )
  for name in activations:
    value = getattr(config, name)
    if value not in ACTIVATIONS:
      raise UserError(
        f"{source}: {name} = {value!r} is none of {', '.join(ACTIVATIONS)}; "
        "is this file damaged?"
      )
