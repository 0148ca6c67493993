"""Published weights: files in the layout of transformers to Flax params."""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Registers bfloat16 with NumPy, without which safetensors does not read it.
import ml_dtypes  # noqa: F401
import numpy as np
import safetensors

from emojax.errors import UserError
from emojax.weights import torch_archive

_FILES = (
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
)
# PyTorch's newer weight norm (`nn.utils.parametrizations`) and the names that
# checkpoints converted from TensorFlow have for the layer norm.
_SPELLINGS = (
  (re.compile(r"\.parametrizations\.weight\.original0$"), ".weight_g"),
  (re.compile(r"\.parametrizations\.weight\.original1$"), ".weight_v"),
  (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
  (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)
_LISTED = 8

# Tensors by name, each read from its file when it is called for.
Readers = Mapping[str, Callable[[], np.ndarray]]


def read_config(
  folder: pathlib.Path, file: str = "config.json"
) -> dict[str, Any]:
  """Reads a JSON object; a UserError where the file is none, or not there."""
  path = folder / file
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except (FileNotFoundError, NotADirectoryError) as error:
    raise UserError(
      f"{folder}: no {file}; a checkpoint is a folder as transformers saves it"
    ) from error
  except (ValueError, RecursionError, OSError) as error:
    raise UserError(
      f"{path}: not readable as JSON ({error}); download it again"
    ) from error
  if not isinstance(config, dict):
    raise UserError(
      f"{path}: holds no JSON object but a {type(config).__name__}; download "
      "it again"
    )
  return config


def known_fields(
  config_class: type, fields: Mapping[str, Any], source: str
) -> dict[str, Any]:
  """Picks the fields of a config that a dataclass has, lists as tuples.

  Raises a UserError if one is of another type than the dataclass's default.
  """
  known = {}
  for field in dataclasses.fields(config_class):
    value = fields.get(field.name)
    if value is None:
      continue
    value = tuple(value) if isinstance(value, list) else value
    kinds = (int, float) if isinstance(field.default, float) else ()
    if not isinstance(value, (type(field.default), *kinds)):
      raise UserError(
        f"{source}: {field.name} = {value!r} is no "
        f"{type(field.default).__name__}; is this file damaged?"
      )
    known[field.name] = value
  return known


def open_tensors(folder: pathlib.Path) -> Readers:
  """Opens the weights of a checkpoint.

  Takes `model.safetensors`, else its shards, else `pytorch_model.bin`, else
  its shards. Names have one spelling: weight norm is `weight_g` and
  `weight_v`, layer norm is `weight` and `bias`.

  Raises a UserError, also when a tensor is read, where there is no such file,
  or one that is damaged or not to be trusted.
  """
  for file in _FILES:
    if (folder / file).is_file():
      break
  else:
    raise UserError(
      f"{folder}: no weights; expected one of {', '.join(_FILES)}"
    )
  is_index = file.endswith(".index.json")
  found = _open_shards(folder, file) if is_index else _open(folder / file)
  readers = {}
  for name, read in found.items():
    for pattern, spelling in _SPELLINGS:
      name = pattern.sub(spelling, name)
    readers[name] = read
  return readers


def load_params(
  readers: Readers,
  shapes: Any,
  *,
  source: str,
  prefix: str = "",
  ignored: Sequence[str] = (),
) -> Any:
  """Brings the tensors of a PyTorch checkpoint to the params of a Flax module.

  Modules are named like those of PyTorch, so names follow from the structure:
  `('layers_0', 'q_proj', 'kernel')` is `layers.0.q_proj.weight`; `kernel`,
  `scale` and `embedding` are `weight`. Kernels have their axes reversed: (out,
  in / groups, width) becomes (width, in / groups, out).

  Args:
    readers, shapes: of `open_tensors`; a tree of `jax.ShapeDtypeStruct`.
    source: where the tensors are from, for the error.
    prefix: what names may start with, as `wav2vec2.` if saved with a head.
    ignored: regular expressions of tensors that this model does not need,
      matched with the start of their names without `prefix`.

  Raises:
    UserError: lists tensors that are missing, unexpected or misshapen.
  """
  names = {name.removeprefix(prefix): name for name in readers}
  if len(names) < len(readers):
    # Saved with the prefix and without it: two models in one file.
    names = {name: name for name in readers}
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  arrays, missing, misshapen = [], [], []
  for path, leaf in leaves:
    name, step = _name(path)
    if name not in names:
      missing.append(name)
      continue
    tensor, shape = readers[names.pop(name)](), leaf.shape[::step]
    if tensor.shape != shape:
      misshapen.append(f"{name} {tensor.shape} instead of {shape}")
    elif not misshapen and not missing:
      tensor = np.asarray(tensor if step == 1 else tensor.T, leaf.dtype)
      # One tensor at a time is in memory twice; the copy to the device puts
      # reversed axes in order, NumPy would take one of its own.
      arrays.append(jnp.array(tensor).block_until_ready())
  unexpected = [n for n in names if not any(re.match(p, n) for p in ignored)]
  kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
  lists = [_list(kind, found) for kind, found in kinds.items() if found]
  if lists:
    raise UserError(
      f"{source}: the weights do not fit the model: {'; '.join(lists)} (of "
      f"{len(leaves)} in the model and {len(readers)} in the file); take a "
      "checkpoint of this architecture with its own config.json"
    )
  return jax.tree_util.tree_unflatten(structure, arrays)


def _name(path: Sequence[Any]) -> tuple[str, int]:
  """PyTorch's name of a leaf; -1 where its axes are reversed there, else 1."""
  *modules, leaf = (jax.tree_util.keystr((key,), simple=True) for key in path)
  modules = [re.sub(r"_(\d+)$", r".\1", module) for module in modules]
  is_weight = leaf in ("kernel", "scale", "embedding")
  name = ".".join((*modules, "weight" if is_weight else leaf))
  return name, -1 if leaf == "kernel" else 1


def _list(kind: str, names: Sequence[str]) -> str:
  more = len(names) - _LISTED
  end = f" and {more} more" if more > 0 else ""
  return f"{len(names)} {kind}: {', '.join(names[:_LISTED])}{end}"


def _open_shards(folder: pathlib.Path, file: str) -> Readers:
  """Opens every file that the index of a sharded checkpoint names."""
  files = read_config(folder, file).get("weight_map")
  if not isinstance(files, dict) or not all(
    isinstance(shard, str) and pathlib.PurePath(shard).name == shard
    for shard in files.values()
  ):
    raise UserError(
      f"{folder / file}: weight_map names no files of this folder; download "
      "it again"
    )
  readers = {}
  for shard in sorted(set(files.values()), reverse=True):
    readers.update(_open(folder / shard))
  lost = [name for name in files if name not in readers]
  if lost:
    raise UserError(
      f"{folder / file}: the files lack {_list('tensors', lost)}; download "
      "the folder again"
    )
  return readers


def _open(path: pathlib.Path) -> Readers:
  if path.suffix == ".bin":
    return torch_archive.read(path)
  try:
    with safetensors.safe_open(path, "numpy") as file:
      names = file.keys()
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(
      f"{path}: not a whole safetensors file ({error}); download it again"
    ) from error
  return {
    name: functools.partial(_read_safetensor, path, name) for name in names
  }


def _read_safetensor(path: pathlib.Path, name: str) -> np.ndarray:
  # The file is opened for each tensor anew: pages of one that stays open count
  # as memory of this process, a second copy of the weights in the end.
  try:
    with safetensors.safe_open(path, "numpy") as file:
      return file.get_tensor(name)
  except (safetensors.SafetensorError, TypeError, OSError) as error:
    raise UserError(f"{path}: {name} is not readable ({error})") from error
