"""ELMo's published files: options in JSON, weights in HDF5."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders import elmo_model
from emojax.encoders.elmo_model import Config
from emojax.errors import UserError

_ORIGIN = (
  "put there elmo_2x4096_512_2048cnn_2xhighway_options.json and "
  "elmo_2x4096_512_2048cnn_2xhighway_weights.hdf5 of AllenNLP's ELMo page, "
  "https://allenai.org/allennlp/software/elmo"
)
# What h5py raises where the bytes make no sense, by where they are.
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError)
_CELL = "RNN_{}/RNN/MultiRNNCell/Cell{}/LSTMCell/{}"  # direction, layer, name


def read(path: str | os.PathLike) -> tuple[Config, dict]:
  """Reads the config and the parameters of `BidirectionalLanguageModel`.

  The arguments and errors are those of `elmo.load`.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise UserError(f"{folder}: no such folder; make it and {_ORIGIN}")
  options = _only(folder, "*options*.json")
  weights = _only(folder, "*weights*.hdf5")
  config = _read_options(options)
  return config, _read_weights(weights, config)


def _only(folder: pathlib.Path, pattern: str) -> pathlib.Path:
  found = sorted(folder.glob(pattern))
  if not found:
    raise UserError(f"{folder}: no {pattern} in it; {_ORIGIN}")
  if len(found) > 1:
    names = ", ".join(path.name for path in found)
    raise UserError(f"{folder}: {names}: keep one {pattern} in it")
  return found[0]


def _read_options(path: pathlib.Path) -> Config:
  """Reads what shapes the network; the rest belongs to its training."""
  try:
    options = json.loads(path.read_bytes())
  except ValueError as error:  # of JSON, or of its encoding
    raise UserError(f"{path}: not JSON ({error}); {_ORIGIN}") from error

  def field(name: str, what: str, valid: Callable[[Any], bool]) -> Any:
    value = options
    for key in name.split("."):
      if not isinstance(value, dict) or key not in value:
        raise UserError(f"{path}: no field {name}; {_ORIGIN}")
      value = value[key]
    if not valid(value):
      raise UserError(f"{path}: {name} = {value!r}: must be {what}")
    return value

  def count(name: str, least: int = 1) -> int:
    what = f"a whole number, at least {least}"
    return field(name, what, lambda x: type(x) is int and x >= least)

  def bound(name: str) -> float | None:
    return field(name, "a positive number or null", _is_bound)

  # 261 in training; for use, bilm-tf has one more set, its id for no word.
  field("char_cnn.n_characters", "262, or 261", lambda x: x in (261, 262))
  max_characters = count("char_cnn.max_characters_per_token", least=3)
  filters = field(
    "char_cnn.filters",
    f"a list of [width, number], widths at most {max_characters}",
    lambda x: _are_filters(x, max_characters),
  )
  return Config(
    activation=field(
      "char_cnn.activation", "relu or tanh", lambda x: x in ("relu", "tanh")
    ),
    embedding_dim=count("char_cnn.embedding.dim"),
    filters=tuple((width, number) for width, number in filters),
    max_characters_per_token=max_characters,
    n_highway=count("char_cnn.n_highway", least=0),
    dim=count("lstm.dim"),
    projection_dim=count("lstm.projection_dim"),
    n_layers=count("lstm.n_layers"),
    use_skip_connections=field(
      "lstm.use_skip_connections", "true or false", lambda x: type(x) is bool
    ),
    cell_clip=bound("lstm.cell_clip"),
    proj_clip=bound("lstm.proj_clip"),
  )


def _is_bound(value: Any) -> bool:
  return value is None or (type(value) in (int, float) and value > 0)


def _are_filters(value: Any, max_width: int) -> bool:
  def is_filter(pair: Any) -> bool:
    return (
      isinstance(pair, list)
      and [type(x) for x in pair] == [int, int]
      and 1 <= pair[0] <= max_width
      and pair[1] >= 1
    )

  return isinstance(value, list) and value != [] and all(map(is_filter, value))


def _read_weights(path: pathlib.Path, config: Config) -> dict:
  """Reads the parameters of `BidirectionalLanguageModel` from HDF5."""
  found = {}

  def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
    if isinstance(item, h5py.Dataset):
      found[name] = item

  try:
    with h5py.File(path, "r") as file:
      file.visititems(keep)
      _compare(path, found, _shapes(config))
      arrays = {
        name: item[()].astype(np.float32, copy=False)
        for name, item in found.items()
      }
  except _DAMAGED as error:
    raise UserError(
      f"{path}: damaged, or not HDF5 ({error}); {_ORIGIN}"
    ) from error
  return jax.tree.map(jnp.asarray, _params(arrays, config))


def _compare(
  path: pathlib.Path,
  found: Mapping[str, h5py.Dataset],
  shapes: Mapping[str, tuple[int, ...]],
) -> None:
  faults = [f"{name} is missing" for name in sorted(shapes.keys() - found)]
  faults += [f"{name} is unexpected" for name in sorted(found.keys() - shapes)]
  for name in sorted(shapes.keys() & found):
    item = found[name]
    if item.shape != shapes[name]:
      faults.append(f"{name} is {item.shape}, must be {shapes[name]}")
    elif item.dtype.kind != "f":
      faults.append(f"{name} is {item.dtype}, must be float")
  if faults:
    raise UserError(
      f"{path}: not the weights of the options beside it: {'; '.join(faults)}"
    )


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
  """The data sets of a published file. W_0 is [inputs; state], by gates."""
  width = sum(number for _, number in config.filters)
  cells, projection = config.dim, config.projection_dim
  shapes = {"char_embed": (elmo_model.NUM_CHARACTERS, config.embedding_dim)}
  for i, (size, number) in enumerate(config.filters):
    shapes[f"CNN/W_cnn_{i}"] = (1, size, config.embedding_dim, number)
    shapes[f"CNN/b_cnn_{i}"] = (number,)
  for i in range(config.n_highway):
    for name in ("carry", "transform"):
      shapes[f"CNN_high_{i}/W_{name}"] = (width, width)
      shapes[f"CNN_high_{i}/b_{name}"] = (width,)
  shapes["CNN_proj/W_proj"] = (width, projection)
  shapes["CNN_proj/b_proj"] = (projection,)
  for direction in range(2):
    for i in range(config.n_layers):
      shapes[_CELL.format(direction, i, "W_0")] = (2 * projection, 4 * cells)
      shapes[_CELL.format(direction, i, "B")] = (4 * cells,)
      shapes[_CELL.format(direction, i, "W_P_0")] = (cells, projection)
  return shapes


def _params(arrays: Mapping[str, np.ndarray], config: Config) -> dict:
  """Gives the data sets their places in the network."""

  def dense(group: str, name: str) -> dict:
    kernel, bias = arrays[f"{group}/W_{name}"], arrays[f"{group}/b_{name}"]
    return {"kernel": kernel, "bias": bias}

  def lstm(direction: int, i: int) -> dict:
    kernel = arrays[_CELL.format(direction, i, "W_0")]
    return {
      "input_kernel": kernel[: config.projection_dim],
      "recurrent_kernel": kernel[config.projection_dim :],
      "bias": arrays[_CELL.format(direction, i, "B")],
      "projection_kernel": arrays[_CELL.format(direction, i, "W_P_0")],
    }

  encoder = {
    "embedding": {"embedding": arrays["char_embed"]},
    "projection": dense("CNN_proj", "proj"),
  }
  for i in range(len(config.filters)):
    convolution = dense("CNN", f"cnn_{i}")
    encoder[f"convolution_{i}"] = convolution | {
      "kernel": convolution["kernel"][0]
    }
  for i in range(config.n_highway):
    encoder[f"highway_{i}"] = {
      name: dense(f"CNN_high_{i}", name) for name in ("carry", "transform")
    }
  params = {"characters": encoder}
  for i in range(config.n_layers):
    params[f"forward_{i}"] = lstm(0, i)
    params[f"backward_{i}"] = lstm(1, i)
  return params
