"""The program of this folder, by JAX alone."""

import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax import export
from safetensors.numpy import load_file


def load(folder: pathlib.Path) -> Callable[..., dict[str, np.ndarray]]:
  """Gives a function of named arrays, as `card.json` describes them."""
  card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
  content = (folder / "model.stablehlo").read_bytes()
  compute = jax.jit(export.deserialize(bytearray(content)).call)
  weights = jax.device_put(load_file(folder / "weights.safetensors"))

  def call(**inputs):
    arrays = [
      np.asarray(inputs[name], about["dtype"])
      for name, about in card["inputs"].items()
    ]
    outputs = map(np.asarray, compute(weights, *arrays))
    return dict(zip(card["outputs"], outputs, strict=True))

  return call
