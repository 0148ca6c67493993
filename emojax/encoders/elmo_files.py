"""ELMo's published files: options in JSON, weights in HDF5."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from emojax.errors import UserError
from emojax.runtime import files
from emojax.weights import json_files

_ORIGIN = (
  "put there elmo_2x4096_512_2048cnn_2xhighway_options.json and "
  "elmo_2x4096_512_2048cnn_2xhighway_weights.hdf5 of AllenNLP's ELMo page, "
  "https://allenai.org/allennlp/software/elmo"
)
# What h5py raises where the bytes make no sense, by where they are.
_DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError)
_MOST = 2**15  # Of any size: eight times what is published.
_LISTED = 12
_MOST_FILTERS = 64
_MOST_LAYERS = 64
_MOST_PACKED = 32  # Values in memory to bytes of the file, if compressed.


@dataclasses.dataclass(frozen=True)
class Config:
  """The fields of a published `options.json` that shape the network.

  Attributes:
    max_characters_per_token: C, with the marks of begin and end of the word.
    filters: (width, number) of each convolution over characters.
    embedding_dim, dim, projection_dim: D, K and P.
    use_skip_connections: add a layer's input to its output, from the second
      layer on.
    cell_clip, proj_clip: bounds of the cells and of the projections.
  """

  max_characters_per_token: int
  filters: tuple[tuple[int, int], ...]
  activation: str
  embedding_dim: int
  n_highway: int
  dim: int
  projection_dim: int
  n_layers: int
  use_skip_connections: bool
  cell_clip: float | None
  proj_clip: float | None


def _at_least(least: int) -> tuple[str, Callable[[Any], bool]]:
  what = f"a whole number, at least {least} and at most {_MOST}"
  return what, lambda x: type(x) is int and least <= x <= _MOST


def _are_filters(value: Any) -> bool:
  def is_filter(pair):
    is_pair = isinstance(pair, list) and [type(x) for x in pair] == [int, int]
    return is_pair and min(pair) >= 1 and max(pair) <= _MOST

  is_list = isinstance(value, list) and 0 < len(value) <= _MOST_FILTERS
  return is_list and all(map(is_filter, value))


_BOUND = (
  "a positive number or null",
  lambda x: x is None or (type(x) in (int, float) and x > 0),
)
# What each option must be.
_OPTIONS = {
  # 261 in training; for use, bilm-tf has one more set, its id for no word.
  "char_cnn.n_characters": ("262, or 261", lambda x: x in (261, 262)),
  "char_cnn.max_characters_per_token": _at_least(3),
  "char_cnn.filters": ("a list of [width, number]", _are_filters),
  "char_cnn.activation": ("relu or tanh", lambda x: x in ("relu", "tanh")),
  "char_cnn.embedding.dim": _at_least(1),
  "char_cnn.n_highway": _at_least(0),
  "lstm.dim": _at_least(1),
  "lstm.projection_dim": _at_least(1),
  "lstm.n_layers": _at_least(1),
  "lstm.use_skip_connections": ("true or false", lambda x: type(x) is bool),
  "lstm.cell_clip": _BOUND,
  "lstm.proj_clip": _BOUND,
}


def find(path: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
  """The options and the weights in a folder, one file each."""
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder; make it and {_ORIGIN}")

  def only(pattern: str) -> pathlib.Path:
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(found) == 1:
      return found[0]
    if not found:
      raise UserError(f"{folder}: no {pattern} in it; {_ORIGIN}")
    names = ", ".join(path.name for path in found)
    raise UserError(f"{folder}: {names}: keep one {pattern} in it")

  return only("*options*.json"), only("*weights*.hdf5")


def read_options(path: pathlib.Path) -> Config:
  """Reads what shapes the network; the rest belongs to its training."""
  options = json_files.read(path, _ORIGIN)
  values = {}
  for name, (what, is_valid) in _OPTIONS.items():
    value = options
    for key in name.split("."):
      if not isinstance(value, dict) or key not in value:
        raise UserError(f"{path}: no field {name}; {_ORIGIN}")
      value = value[key]
    if not is_valid(value):
      raise UserError(f"{path}: {name} = {value!r:.200}: must be {what}")
    values[name.partition(".")[2].replace(".", "_")] = value
  if max(values["n_layers"], values["n_highway"]) > _MOST_LAYERS:
    raise UserError(f"{path}: more than {_MOST_LAYERS} layers; {_ORIGIN}")
  del values["n_characters"]
  values["filters"] = tuple((width, size) for width, size in values["filters"])
  config = Config(**values)
  widest = max(width for width, _ in config.filters)
  if widest > config.max_characters_per_token:
    raise UserError(
      f"{path}: char_cnn.filters = {config.filters}: must be of widths up to "
      f"max_characters_per_token = {config.max_characters_per_token}"
    )
  return config


def read_weights(
  path: pathlib.Path, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array]:
  """Reads the data sets of an HDF5 file: those of `shapes`, as float32."""
  found = {}

  def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Dataset):
      found[name] = item

  try:
    # What float32 cannot hold becomes infinite, and is refused.
    with h5py.File(path, "r") as file, np.errstate(over="ignore"):
      file.visititems(keep)
      _compare(path, found, shapes)
      arrays = {
        name: jnp.asarray(item[()].astype(np.float32, copy=False))
        for name, item in found.items()
      }
  except _DAMAGED as error:
    reason = " ".join(str(error).split())[:200]
    why = f"damaged, or not HDF5 ({reason}); {_ORIGIN}"
    raise UserError(f"{path}: {files.instead(path) or why}") from error
  wrong = [name for name, x in arrays.items() if not jnp.isfinite(x).all()]
  if wrong:
    raise UserError(f"{path}: no numbers in {', '.join(wrong)}; {_ORIGIN}")
  return arrays


def _compare(
  path: pathlib.Path,
  found: Mapping[str, h5py.Dataset],
  shapes: Mapping[str, jax.ShapeDtypeStruct],
) -> None:
  faults = [f"{name} is missing" for name in sorted(shapes.keys() - found)]
  faults += [f"{name} is unexpected" for name in sorted(found.keys() - shapes)]
  for name in sorted(shapes.keys() & found):
    item, shape = found[name], shapes[name].shape
    if item.shape != shape:
      faults.append(f"{name} is {item.shape}, must be {shape}")
    elif item.dtype.kind != "f":
      faults.append(f"{name} is {item.dtype}, must be float")
    elif item.is_virtual or item.external:
      faults.append(f"{name} is in another file")
    elif item.nbytes > _MOST_PACKED * item.id.get_storage_size():
      faults.append(f"{name} is empty")
  if faults:
    more = "; …" if len(faults) > _LISTED else ""
    raise UserError(
      f"{path}: not the weights of the options beside it: "
      f"{'; '.join(faults[:_LISTED])}{more}"
    )
