"""Publishing a trained system on the hub."""

import os
import pathlib
import shutil
import tempfile

from emojax import summary as summaries
from emojax.corpora import faces, shipped, speech
from emojax.data import features, functionals
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
  """Others can not extract features by somebody's folder.

  Whether it is on this machine does not matter: training has settled each hub
  id to a commit. An encoder of no use has none, but may be a path all the same.
  """
  fields = system.features
  reads = fields.get("text_features") not in ("hashing", features.NOTHING)
  for field, revision, is_used in (
    ("audio_features", "audio_revision", True),
    ("text_encoder", "text_revision", reads),
  ):
    name = fields.get(field)
    if not name or name in (*functionals.NAMES, features.NOTHING):
      continue
    is_path = name.count("/") > 1 or name[0] in "./~"
    if is_path or (is_used and not fields[revision]):
      raise UserError(
        f"config.data.{field} = {name!r}: a folder, which nobody else has; "
        "train with the hub id of that encoder"
      )
