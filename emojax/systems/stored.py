"""Trained systems as files: a description, plain JSON, and weights.

Training writes them into the folder `model` of its run; from there they are
read without any code of training, and nothing in them is ever run.
"""

import json
import logging
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar

import flax
import ml_collections
import numpy as np
from flax.errors import FlaxError
from safetensors import SafetensorError

from emojax.errors import UserError
from emojax.runtime import files, tensors
from emojax.weights import json_files

_LOG = logging.getLogger(__name__)

FOLDER = "model"  # In that of the run.
FILES = "system.json", "weights.safetensors"  # Description and weights.

# What values that make no sense raise, wherever they are first made use of.
_DAMAGES = (
  *(ArithmeticError, AssertionError, AttributeError, LookupError, OSError),
  *(RecursionError, TypeError, ValueError, FlaxError, SafetensorError),
)


class System(Protocol):
  """All of a trained system but its weights."""

  kind: ClassVar[str]  # What it takes, and its name in the description.
  classes: tuple[str, ...]
  temperature: float  # By which logits are divided before the softmax.

  def shapes(self) -> Any:
    """The shapes and types of its weights, as a tree."""
    ...

  def to_json(self) -> dict[str, Any]:
    """The description without its kind."""
    ...

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives; of what makes no sense an error of Python."""
    ...


S = TypeVar("S", bound=System)


def writers(
  system: System, params: Any, names: tuple[str, str] = FILES
) -> dict[str, Callable[[pathlib.Path], Any]]:
  """What a run leaves of a system: writers by file name.

  `names` are those of other files than the system's, here and below.
  """
  description, weights = names
  described = {"kind": system.kind, **system.to_json()}
  text = json.dumps(described, indent=2) + "\n"
  return {
    f"{FOLDER}/{weights}": lambda path: tensors.save(path, params),
    f"{FOLDER}/{description}": lambda path: path.write_text(
      text, encoding="utf-8"
    ),
  }


def load(
  name: str | os.PathLike, *kinds: type[S], names: tuple[str, str] = FILES
) -> tuple[S, dict[str, Any]]:
  """Reads a system and its weights, NumPy arrays.

  Args:
    name: the folder of a finished run, one with a system in it, or a hub id.
    kinds: those that will do; any without them.

  Raises:
    UserError: no finished run, a system of another kind, or a damaged one.
  """
  folder = find(name, names)
  description, weights = names
  system = _read_description(folder / description, kinds)
  if kinds and not isinstance(system, kinds):
    wanted = " or ".join(one.kind for one in kinds)
    raise UserError(
      f"{name}: a system of {system.kind}, and this takes one of {wanted}"
    )
  path = folder / weights
  try:
    params = tensors.load(path)
    # Finds what makes no system, and what is missing or of another shape.
    shapes = system.shapes()
  except _DAMAGES as error:
    why = files.instead(path) or f"damaged ({_line(error)})"
    raise UserError(f"{path}: {why}; train it again") from error
  _check_weights(path, params, shapes, description)
  return system, params


def find(
  name: str | os.PathLike, names: tuple[str, str] = FILES
) -> pathlib.Path:
  """The folder that holds a system's two files; see `load` for `name`.

  Raises:
    UserError: there is none.
  """
  path = pathlib.Path(name).expanduser()
  # `runs` is where training leaves them: no owner of that name is meant.
  is_mine = path.parts[:1] == ("runs",) or path.parent.exists()
  if len(path.parts) == 2 and not is_mine:
    from emojax.weights import hub  # Not for what lies here.

    _LOG.info("%s: no such folder in %s, so it is a hub id", path, os.getcwd())
    path = hub.folder(str(path), patterns=names)
  folder = path if (path / names[0]).is_file() else path / FOLDER
  missing = [name for name in names if not (folder / name).is_file()]
  if not missing:
    return folder
  if not (path / "summary.json").is_file() and names[0] in missing:
    where = (
      "" if path.exists() else f" (from the current folder, {os.getcwd()})"
    )
    raise UserError(
      f"{path}: no finished run (it has no summary.json); train it first, "
      f"with emojax train, or name the folder of one{where}"
    )
  raise UserError(
    f"{folder / missing[0]}: no such file; copy the run's folder {FOLDER} too, "
    "or train it again"
  )


def read_config(run: pathlib.Path) -> ml_collections.ConfigDict:
  """The config of a run, which says what data it has read.

  Raises:
    UserError: there is none, or a damaged one.
  """
  path = run / "config.json"
  mend = "copy it from where the run was trained, or train it again"
  try:
    fields = json_files.read(path, mend)
  except FileNotFoundError as error:
    raise UserError(
      f"{path}: no such file, so nobody knows who was tested; {mend}"
    ) from error
  data, split = fields.get("data"), fields.get("split")
  if not (
    isinstance(data, dict)
    and isinstance(data.get("corpus"), str)
    and isinstance(split, dict)
    and isinstance(split.get("method"), str)
    and isinstance(split.get("group"), str)
  ):
    raise UserError(f"{path}: damaged, no config of a run; {mend}")
  return ml_collections.ConfigDict(fields)


def _known() -> dict[str, type[System]]:
  """Every kind; whoever trains one has no use for the imports of the others."""
  from emojax.systems.conversations import ConversationSystem
  from emojax.systems.faces import FaceSystem
  from emojax.systems.speech import SpeechSystem

  kinds = ConversationSystem, FaceSystem, SpeechSystem
  return {one.kind: one for one in kinds}


def _read_description(path: pathlib.Path, kinds: Sequence[type[S]]) -> System:
  fields = json_files.read(path, "train it again")
  kind = fields.pop("kind", None)
  known = _known() | {one.kind: one for one in kinds}
  try:
    if kind not in known:
      raise ValueError(f"kind has to be one of {', '.join(known)}")
    system = known[kind].from_json(fields)
    if not 0 < system.temperature < math.inf:
      raise ValueError("temperature has to be above 0")
    if not isinstance(fields.get("classes", []), list) or not all(
      isinstance(name, str) for name in system.classes
    ):
      raise ValueError("classes have to be words")
    if len(set(system.classes)) < max(len(system.classes), 1):
      raise ValueError("classes have to differ")
  except (UserError, *_DAMAGES) as error:
    raise UserError(
      f"{path}: damaged ({_line(error)}); train it again"
    ) from error
  return system


def _check_weights(
  path: pathlib.Path, params: Any, shapes: Any, description: str
) -> None:
  found = flax.traverse_util.flatten_dict(params, sep="/")
  wanted = flax.traverse_util.flatten_dict(shapes, sep="/")
  wrong = dict.fromkeys(wanted.keys() - found, "missing")
  wrong |= dict.fromkeys(found.keys() - wanted, "unexpected")
  for name in found.keys() & wanted:
    if found[name].shape != wanted[name].shape:
      wrong[name] = f"{found[name].shape} instead of {wanted[name].shape}"
    elif found[name].dtype != wanted[name].dtype:
      wrong[name] = f"{found[name].dtype} instead of {wanted[name].dtype}"
    elif not np.isfinite(found[name]).all():
      wrong[name] = "NaN or infinite"
  if wrong:
    first = min(wrong)
    raise UserError(
      f"{path}: damaged, or not of the {description} beside it ({len(wrong)} "
      f"tensors do not fit; {first} is {wrong[first]}); train it again"
    )


def _line(error: Exception) -> str:
  return " ".join(str(error).split())[:200] or type(error).__name__
