"""emojax: emotion recognition in JAX, from conversations, speech and faces."""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
  from emojax.inference.predict import Predictor


def load(name: str | os.PathLike) -> Predictor:
  """Loads a trained system: `emojax.load(RUN).predict(paths)`.

  Args:
    name: the folder of a finished run, or the hub id of a published system.

  Raises:
    UserError: no finished run, or a damaged one.
  """
  from emojax.inference import predict  # JAX takes a second to import.

  return predict.load(name)
