"""The program of this folder, by ONNX Runtime."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import onnxruntime


def load(folder: pathlib.Path) -> Callable[..., dict[str, np.ndarray]]:
  """Gives a function of named arrays, as `card.json` describes them."""
  card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
  session = onnxruntime.InferenceSession(folder / "model.onnx")

  def call(**inputs):
    arrays = {
      name: np.asarray(inputs[name], about["dtype"])
      for name, about in card["inputs"].items()
    }
    outputs = session.run(list(card["outputs"]), arrays)
    return dict(zip(card["outputs"], outputs, strict=True))

  return call
