"""What each kind of system computes, as a pure function of named arrays."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from emojax.models.sa_gru import Packing
from emojax.systems.conversations import ConversationSystem
from emojax.systems.faces import FaceSystem
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
    weights: float32 arrays by their names.
    function: `(weights, *inputs)` to a tuple of outputs.
    bounds: the least and the most of each named dimension.
    details: what else a caller has to know, for the card.
    example: inputs as they may be, from a generator of random numbers.
  """

  weights: dict[str, np.ndarray]
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


def of(system: System, params: Any) -> Signature:
  """The signature of a trained system, as `stored.load` gives it."""
  return _KINDS[system.kind](system, params)


def _flat(params: Any) -> dict[str, Any]:
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


def _speech(system: SpeechSystem, params: Any) -> Signature:
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
    _flat(params),
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


def _faces(system: FaceSystem, variables: Any) -> Signature:
  def function(weights, images_BxHxWxC):
    logits_BxK, _ = system.apply(_nested(weights), images_BxHxWxC)
    return _with_probabilities(system, logits_BxK)

  form = *system.image_size, system.channels
  colours = {1: "grey", 3: "RGB"}[system.channels]
  return Signature(
    _flat(variables),
    function,
    inputs={
      "images": Array(
        "uint8",
        ("batch", *form),
        f"{colours}, 0 to 255, one face cut out in each",
      )
    },
    outputs=_outputs(system, "batch"),
    bounds={"batch": (1, None)},
    details={},
    example=lambda random: (random.integers(0, 256, (2, *form), np.uint8),),
  )


def _conversations(system: ConversationSystem, params: Any) -> Signature:
  names = sorted(system.widths)
  by_training = system.normalisation == "train"

  def function(weights, *inputs):
    *features, lengths_B = inputs
    nested = _nested(weights)
    logits_BxTxC = _classify(
      system,
      nested["model"],
      {
        name: _z_scores(x, **nested["statistics"][name]) if by_training else x
        for name, x in zip(names, features, strict=True)
      },
      lengths_B,
    )
    return _with_probabilities(system, logits_BxTxC)

  def example(random):
    features = []
    for name in names:
      values = random.standard_normal((2, 5, system.widths[name]))
      if by_training:  # Else the noise would be far from all it was trained on.
        one = params["statistics"][name]
        values = values * one["std"] + one["mean"]
      features.append(values.astype(np.float32))
    return *features, np.array([5, 3], np.int32)

  about = "features of each turn of dialogues, {}as they were in training"
  about = about.format("" if by_training else "z-scores by speaker ")
  return Signature(
    _flat(_with_rests(params)),
    function,
    inputs={
      **{
        name: Array("float32", ("batch", "turns", system.widths[name]), about)
        for name in names
      },
      "lengths": Array("int32", ("batch",), "turns of each dialogue"),
    },
    outputs=_outputs(system, "batch", "turns"),
    bounds={"batch": (1, None), "turns": (1, None)},
    details={
      "features": dict(system.features),
      "normalisation": system.normalisation,
    },
    example=example,
  )


def _with_rests(params):
  """Statistics in float32; of means what that leaves off is beside them."""
  if "statistics" not in params:
    return params
  found = {}
  for name, one in params["statistics"].items():
    mean = one["mean"].astype(np.float32)
    rest = (one["mean"] - mean).astype(np.float32)
    std = one["std"].astype(np.float32)
    found[name] = {"mean": mean, "rest": rest, "std": std}
  return {**params, "statistics": found}


def _z_scores(x_BxTxD, mean, rest, std):
  """As the system has them in float64: values near their mean lose nothing."""
  shape = (1, 1, -1)
  centred = (x_BxTxD - mean.reshape(shape)) - rest.reshape(shape)
  return centred / std.reshape(shape)


def _classify(system, params, features, lengths_B):
  """Logits [B, T, C] of dialogues, each in a row of its own."""
  batch, turns = next(iter(features.values())).shape[:2]
  exists_BxT = jnp.arange(turns)[None] < lengths_B[:, None]
  number_BxT = jnp.arange(batch * turns, dtype=jnp.int32).reshape(batch, turns)
  packing = Packing(
    jnp.where(exists_BxT, number_BxT, batch * turns),
    exists_BxT.astype(jnp.int32),
  )
  rows = {n: x.reshape(batch * turns, -1) for n, x in features.items()}
  inputs = rows, packing, 0.0
  logits_NxC, _ = system.model().apply({"params": params}, *inputs)
  return logits_NxC.reshape(batch, turns, -1)


_KINDS: dict[str, Callable[[Any, Any], Signature]] = {
  ConversationSystem.kind: _conversations,
  FaceSystem.kind: _faces,
  SpeechSystem.kind: _speech,
}
