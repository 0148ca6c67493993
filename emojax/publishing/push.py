"""Publishing a trained system on the hub."""

import os
import pathlib
import shutil
import tempfile

from emojax import summary as summaries
from emojax.corpora import faces, shipped, speech
from emojax.errors import UserError
from emojax.publishing import model_card
from emojax.systems import selectors, stored
from emojax.systems.conversations import ConversationSystem
from emojax.weights import hub

_CARD = "README.md"


def push(run: str | os.PathLike, hub_id: str, private: bool = False) -> str:
  """Uploads the system of a finished run, with a model card; gives its address.

  That is all: no recording, no figure, no path and no name of a speaker leaves
  the machine. A repository that is there gets a new commit.

  Args:
    run: the folder of a finished run.
    hub_id: `user/name`.
    private: whether a new repository is seen by its owner alone.

  Raises:
    UserError: no finished run, or a damaged one; features by an encoder that is
      on this machine alone; no token; the hub refuses.
  """
  run = pathlib.Path(run)
  hub.require_token(hub_id)
  system, _ = stored.load(run)
  if isinstance(system, ConversationSystem):
    _require_known_encoders(system)
  summary = summaries.read(run)
  config = stored.read_config(run)
  readers = faces if system.kind == "faces" else speech
  licences = {
    name: readers.licence(name) if name in readers.names() else ""
    for name in shipped.names_of(config.data)
  }
  card = model_card.write(hub_id, system, summary, licences, config.split)
  with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, _CARD).write_text(card, encoding="utf-8")
    model = stored.find(run)
    for name in (*stored.FILES, *selectors.FILES):
      if (model / name).is_file():
        shutil.copy(model / name, folder)
    return hub.upload(folder, hub_id, private)


def _require_known_encoders(system: ConversationSystem) -> None:
  """Others can not extract features by a folder of this machine."""
  for field in ("audio_features", "text_encoder"):
    name = system.features.get(field)
    if name and pathlib.Path(name).expanduser().is_dir():
      raise UserError(
        f"config.data.{field} = {name!r}: a folder of this machine, and nobody "
        "else has it; train with the hub id of that encoder"
      )
