"""Which tensors of a checkpoint are those of a model: by a prefix, no list.

A checkpoint has the tensors of an encoder under one prefix: none, that of its
family (`wav2vec2.`), or that of whatever held it when it was saved (`module.`,
`_orig_mod.`, `encoder.wav2vec2.`). What lies beside it is a head.
"""

import collections
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

# Weights that are no weights by themselves, by what their names have in them.
_ADAPTER = re.compile(
  r"(^|\.)(lora_\w+|ia3_l|base_layer|modules_to_save)(\.|$)"
)
_QUANTISED = re.compile(
  r"(^|\.)(weight_scale(_inv)?|weight_zero_point|weight_packed|input_scale"
  r"|qweight|qzeros|g_idx|SCB|_packed_params|weight\.absmax|weight\.quant_\w+)"
  r"(\.|$)"
)


class Place(NamedTuple):
  """Where in a checkpoint a model is.

  Attributes:
    prefix: before the names of its tensors.
    unexpected: names after the prefix that the model does not have.
    heads: names of tensors beside the model, whole.
    outer: what the prefix has before the family's.
  """

  prefix: str
  unexpected: list[str]
  heads: list[str]
  outer: str


class TwiceError(Exception):
  """The model is there under several prefixes."""


def refusal(names: Collection[str]) -> str:
  """Why a checkpoint is no whole model of floating point, '' if it may be."""
  for name in names:
    if _ADAPTER.search(name):
      return (
        f"holds an adapter ({name!r:.99}), not a whole model: merge it into "
        "its base model (merge_and_unload) and save that"
      )
    if _QUANTISED.search(name):
      return f"holds quantised weights ({name!r:.99}): take the model in float"
  return ""


def place(
  found: Collection[str],
  wanted: Collection[str],
  optional: Collection[str],
  family: str,
) -> Place:
  """Finds a model, by the names of its tensors, among those of a checkpoint.

  Args:
    found: names in the checkpoint.
    wanted, optional: names in the model; it may lack the second.
    family: `wav2vec2.` where the published classes have that before names.

  Raises:
    TwiceError: all that is wanted is there more than once.
  """
  prefix = _prefix(found, wanted, family)
  within, heads = [], []
  for name in found:
    (within if name.startswith(prefix) else heads).append(name)
  rests = [name[len(prefix) :] for name in within]
  unexpected = [n for n in rests if n not in wanted and n not in optional]
  if family and f".{prefix}".endswith(f".{family}"):
    return Place(prefix, unexpected, heads, prefix.removesuffix(family))
  # Without the family's prefix heads stand beside the model's own modules.
  own = {name.partition(".")[0] for name in (*wanted, *optional)}
  heads += [prefix + n for n in unexpected if n.partition(".")[0] not in own]
  unexpected = [n for n in unexpected if n.partition(".")[0] in own]
  return Place(prefix, unexpected, heads, prefix)


def _prefix(
  found: Collection[str], wanted: Collection[str], family: str
) -> str:
  """What stands before all names of the model, or before most of them."""
  counts = collections.Counter()
  depths = {name.count(".") + 1 for name in wanted}
  for name in found:
    parts = name.split(".")
    for depth in depths:
      rest = ".".join(parts[-depth:])
      if depth <= len(parts) and rest in wanted:
        counts[name.removesuffix(rest)] += 1
  whole = [prefix for prefix, count in counts.items() if count == len(wanted)]
  if len(whole) > 1:
    ways = " and ".join(repr(f"{prefix}*") for prefix in sorted(whole)[:3])
    raise TwiceError(f"the model is there {len(whole)} times, as {ways}")
  return max(counts, key=lambda p: (counts[p], p.endswith(family)), default="")


def modules(heads: Sequence[str], outer: str) -> list[str]:
  """The names of heads: `classifier` of `module.classifier.weight`."""
  tops = (name.removeprefix(outer).partition(".")[0] for name in heads)
  return list(dict.fromkeys(tops))
