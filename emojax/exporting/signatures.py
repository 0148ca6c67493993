"""What each kind of system computes, as a pure function of named arrays."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import numpy as np
from jax import export

from emojax.errors import UserError
from emojax.systems.speech import SpeechSystem
from emojax.systems.stored import System


class Array(NamedTuple):
  """An input or an output; dimensions that callers choose have names."""

  dtype: str
  dims: tuple[int | str, ...]
  about: str


class Signature(NamedTuple):
  """A system as a function.

  Attributes:
    function: `(weights, *inputs)` to a tuple of outputs; weights by flat names.
    bounds: the least and the most of each named dimension.
    details: what else a caller has to know, for the card.
    example: inputs as they may be, from a generator of random numbers.
  """

  function: Callable[..., tuple[jax.Array, ...]]
  inputs: dict[str, Array]
  outputs: dict[str, Array]
  bounds: dict[str, tuple[int, int | None]]
  details: dict[str, Any]
  example: Callable[[np.random.Generator], tuple[np.ndarray, ...]]

  def symbolic_inputs(self) -> list[jax.ShapeDtypeStruct]:
    """The inputs with dimensions that are not known yet."""
    limits = []
    for name, (least, most) in self.bounds.items():
      limits.append(f"{name} >= {least}")
      limits += [] if most is None else [f"{name} <= {most}"]
    names = ", ".join(self.bounds)
    symbols = export.symbolic_shape(names, constraints=limits)
    known = dict(zip(self.bounds, symbols, strict=True))
    return [
      jax.ShapeDtypeStruct([known.get(dim, dim) for dim in array.dims], dtype)
      for array in self.inputs.values()
      for dtype in [np.dtype(array.dtype)]
    ]


def of(system: System) -> Signature:
  """The signature of a trained system.

  Raises:
    UserError: it is of a kind that is not exported.
  """
  if system.kind not in _KINDS:
    kinds = ", ".join(_KINDS)
    raise UserError(f"a system of {system.kind} is not exported, only {kinds}")
  return _KINDS[system.kind](system)


def flat(params: Any) -> dict[str, Any]:
  """Weights by the names that files have for them."""
  return flax.traverse_util.flatten_dict(params, sep="/")


def _nested(weights: Mapping[str, Any]) -> dict[str, Any]:
  return flax.traverse_util.unflatten_dict(weights, sep="/")


def _outputs(system: System, *leading: str) -> dict[str, Array]:
  dims = *leading, len(system.classes)
  return {
    "logits": Array("float32", dims, "scores, not calibrated"),
    "probabilities": Array(
      "float32", dims, "softmax(logits / temperature) over the last axis"
    ),
  }


def _with_probabilities(system: System, logits: jax.Array):
  return logits, jax.nn.softmax(logits / system.temperature)


def _speech(system: SpeechSystem) -> Signature:
  encoder = system.encoder

  def function(weights, audio_BxS, lengths_B):
    model, params = system.model(), _nested(weights)
    logits_BxC, _ = system.apply(model, params, audio_BxS, lengths_B)
    return _with_probabilities(system, logits_BxC)

  longest = system.window_samples
  if encoder.max_samples is not None:
    # A clip as long as the encoder's window is of another form within it.
    longest = min(longest, encoder.max_samples - encoder.samples_per_frame)

  def example(random):
    lengths = np.linspace(encoder.min_samples, longest, 3).astype(np.int32)[1:]
    audio = 0.1 * random.standard_normal((2, lengths.max()))
    audio *= np.arange(lengths.max())[None] < lengths[:, None]
    return audio.astype(np.float32), lengths

  return Signature(
    function,
    inputs={
      "audio": Array(
        "float32",
        ("batch", "samples"),
        "clips of one channel, full scale at 1, zeros after the end of a clip",
      ),
      "lengths": Array("int32", ("batch",), "samples of each clip"),
    },
    outputs=_outputs(system, "batch"),
    bounds={"batch": (1, None), "samples": (encoder.min_samples, longest)},
    details={
      "sample_rate": system.sample_rate,
      "window_seconds": longest / system.sample_rate,
      "longer": "cut a longer recording into windows of this length that cover "
      "it evenly, and take the mean of their logits, as run.py does",
    },
    example=example,
  )


_KINDS: dict[str, Callable[[Any], Signature]] = {SpeechSystem.kind: _speech}
