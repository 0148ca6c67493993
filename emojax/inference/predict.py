"""A trained system, from the command line and from Python."""

import os
from collections.abc import Sequence
from typing import Any

from emojax.errors import UserError
from emojax.inference.results import Predictions
from emojax.systems import stored
from emojax.systems.conversations import ConversationSystem
from emojax.systems.faces import FaceSystem
from emojax.systems.stored import System


class Predictor:
  """A trained system that says which emotion something has.

  ```python
  predictions = emojax.load("runs/speech").predict(["a.wav", "recordings"])
  predictions.emotions, predictions.probabilities_UxC, predictions.skipped
  ```
  """

  def __init__(self, system: System, params: Any):
    """Takes what `stored.load` gives."""
    self.system = system
    self.params = params

  def __repr__(self) -> str:
    return f"<Predictor of {self.system.kind}: {', '.join(self.classes)}>"

  @property
  def classes(self) -> tuple[str, ...]:
    """The emotions, in the order of probabilities."""
    return self.system.classes

  def predict(
    self,
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    detect: bool = False,
  ) -> Predictions:
    """Classifies what is in files.

    A system of speech takes recordings of any length, type, sample rate and
    channels, and folders of them; one of conversations CSV files with the
    columns of a manifest, or feature tables; one of faces images of a face
    each, or with `detect` images with any number of faces. What can not be used
    is named in a warning and skipped.

    Raises:
      UserError: nothing is named, or can be used; `detect` without a system of
        faces, or without its packages; the device has too little memory.
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    named = [os.fspath(path) for path in several]
    if not named:
      raise UserError("nothing to predict: name a file or a folder")
    # Only here: what one kind of system needs takes seconds to import.
    if isinstance(self.system, FaceSystem):
      from emojax.inference import faces

      return faces.predict(self.system, self.params, named, detect)
    if detect:
      raise UserError(
        f"detect: faces are found for a system of faces, and this is one of "
        f"{self.system.kind}"
      )
    if isinstance(self.system, ConversationSystem):
      from emojax.inference import dialogues

      return dialogues.predict(self.system, self.params, named)
    from emojax.inference import recordings

    return recordings.predict(self.system, self.params, named)


def load(name: str | os.PathLike) -> Predictor:
  """Loads the trained system of a run.

  Args:
    name: the folder of a finished run, or the hub id of a published system.

  Raises:
    UserError: no finished run, or a damaged one.
  """
  return Predictor(*stored.load(name))
