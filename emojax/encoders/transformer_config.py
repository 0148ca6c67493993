"""Checks that the configs of speech and text encoders share."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from emojax.encoders.layers import ACTIVATIONS
from emojax.errors import UserError
from emojax.weights import folders

_SIZE = (1, 2**16)
_RATE = (0, 1)
# Far beyond what is published, and checked before anything is made.
_BOUNDS = {
  "vocab_size": (1, 2**22),
  "hidden_size": _SIZE,
  "num_hidden_layers": (0, 64),
  "num_attention_heads": (1, 1024),
  "intermediate_size": (1, 2**18),
  "conv_dim": _SIZE,
  "conv_stride": (1, 2**10),
  "conv_kernel": (1, 2**12),
  "num_conv_pos_embeddings": _SIZE,
  "num_conv_pos_embedding_groups": _SIZE,
  "num_buckets": (4, 2**16),
  "max_position_embeddings": _SIZE,
  "type_vocab_size": (1, 2**10),
  "layer_norm_eps": (1e-30, 1),
  "mask_time_length": _SIZE,
  "mask_feature_length": _SIZE,
  **dict.fromkeys(
    (
      *("hidden_dropout", "activation_dropout", "attention_dropout"),
      *("feat_proj_dropout", "final_dropout", "layerdrop"),
      *("hidden_dropout_prob", "attention_probs_dropout_prob"),
      *("mask_time_prob", "mask_feature_prob"),
    ),
    _RATE,
  ),
}


def family(
  fields: Mapping[str, Any], source: str, kind: str, known: Sequence[str]
) -> str:
  """The `model_type` of a `config.json`, if it is one of the known."""
  found = fields.get("model_type")
  if not isinstance(found, str) or found not in known:
    why = f"it has {', '.join(known)}"
    if found is None:  # A config of another program.
      why = folders.hint(pathlib.Path(source).parent, ()) or why
    raise UserError(
      f"{source}: model_type {found!r:.80} is no {kind} encoder that emojax "
      f"has; {why}"
    )
  if fields.get("pruned_heads"):
    raise UserError(
      f"{source}: pruned_heads are not supported; choose a checkpoint that has "
      "all its heads"
    )
  return found


def check(config: Any, source: str, *activations: str) -> None:
  """Refuses sizes that make no network, or one that no machine holds."""
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    least, most = _BOUNDS.get(field.name, (-math.inf, math.inf))
    values = value if isinstance(value, tuple) else (value,)
    if field.name in _BOUNDS and not all(least <= x <= most for x in values):
      raise UserError(
        f"{source}: {field.name} = {value} is not between {least} and {most}; "
        "is this file damaged?"
      )
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
        f"{source}: {name} = {value!r} is none of {', '.join(ACTIVATIONS)}, "
        "which emojax has; choose another checkpoint"
      )
