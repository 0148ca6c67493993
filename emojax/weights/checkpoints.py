"""Published weights: files in the layout of transformers to Flax params."""

import functools
import logging
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
from emojax.runtime import files
from emojax.weights import folders, json_files, names, torch_archive

_LOG = logging.getLogger(__name__)

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


def open_tensors(folder: pathlib.Path) -> Readers:
  """Opens the weights of a checkpoint.

  Takes `model.safetensors`, else its shards, else `pytorch_model.bin`, else
  its shards. Names have one spelling: weight norm is `weight_g` and
  `weight_v`, layer norm is `weight` and `bias`.

  Raises a UserError, also when a tensor is read, where there is no such file,
  or one that is damaged or not to be trusted.
  """
  file = _first(folder)
  found = (
    _open_shards(folder, file) if _is_index(file) else _open(folder / file)
  )
  if why := names.refusal(found):
    raise UserError(f"{folder / file}: {why}")
  readers = {}
  for name, read in found.items():
    for pattern, spelling in _SPELLINGS:
      name = pattern.sub(spelling, name)
    if name in readers:
      raise UserError(
        f"{folder / file}: {name} is there in two spellings; keep one of them"
      )
    readers[name] = read
  return readers


def files_of(
  folder: pathlib.Path, patterns: Sequence[str]
) -> list[pathlib.Path]:
  """The files of the weights, as `open_tensors` takes them, and of `patterns`.

  Raises a UserError where there are no weights.
  """
  file = _first(folder)
  names = {file, *(_shards(folder, file).values() if _is_index(file) else ())}
  beside = (path for pattern in patterns for path in folder.glob(pattern))
  return sorted({*(folder / name for name in names), *beside})


def _first(folder: pathlib.Path) -> str:
  """The file that weights are read from: they themselves, or their index."""
  for file in _FILES:
    if (folder / file).is_file():
      return file
  why = folders.hint(folder, _FILES)
  raise UserError(
    f"{folder}: no weights; expected one of {', '.join(_FILES)}"
    + (f"; {why}" if why else "")
  )


def _is_index(file: str) -> bool:
  return file.endswith(".index.json")


def has_weights(folder: pathlib.Path) -> bool:
  """Whether a folder has a file of weights, whatever is in it."""
  return any((folder / file).is_file() for file in _FILES)


def load_params(
  readers: Readers,
  shapes: Any,
  *,
  source: str,
  family: str = "",
  optional: Sequence[str] = (),
  unused: Sequence[str] = (),
) -> Any:
  """Brings the tensors of a PyTorch checkpoint to the params of a Flax module.

  Modules are named like those of PyTorch, so names follow from the structure:
  `('layers_0', 'q_proj', 'kernel')` is `layers.0.q_proj.weight`; `kernel`,
  `scale` and `embedding` are `weight`. Kernels have their axes reversed: (out,
  in / groups, width) becomes (width, in / groups, out).

  What the checkpoint has beside the module (see `names`) is left out, and said.

  Args:
    readers, shapes: of `open_tensors`; a tree of `jax.ShapeDtypeStruct`.
    source: where the tensors are from, for the error.
    family: what names start with if saved with a head, as `wav2vec2.`.
    optional: names of tensors that may be missing; then, they are not in the
      params.
    unused: regular expressions of tensors that published modules of this kind
      have and this one does not need, matched with the start of their names.

  Raises:
    UserError: lists tensors that are missing, unexpected or misshapen; the
      module is there twice; tensors hold no numbers.
  """
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  wanted = {_name(path)[0] for path, _ in leaves}
  may_lack = wanted.intersection(optional)
  try:
    place = names.place(readers, wanted - may_lack, may_lack, family)
  except names.TwiceError as error:
    raise UserError(f"{source}: {error}; keep one of them") from error
  arrays, faults = _read(readers, place.prefix, leaves, may_lack)
  heads, unexpected = (
    [n for n in found if not any(re.match(p, n) for p in unused)]
    for found in (place.heads, place.unexpected)
  )
  # A head may be a part of the model under a name of its own.
  faults["unexpected"] = unexpected + (heads if faults["missing"] else [])
  lists = [_list(kind, found) for kind, found in faults.items() if found]
  if lists:
    raise UserError(
      f"{source}: the weights do not fit the model: {'; '.join(lists)} (of "
      f"{len(leaves)} in the model and {len(readers)} in the file); take a "
      "checkpoint of this architecture with its own config.json"
    )
  if heads:
    _LOG.warning(
      "%s: the encoder is taken (%s*), and the rest left out, %s",
      *(source, place.prefix),
      _list("parts", names.modules(heads, place.outer)),
    )
  return jax.tree_util.tree_unflatten(structure, arrays)


def _read(
  readers: Readers, prefix: str, leaves: Sequence[Any], may_lack: set[str]
) -> tuple[list[jax.Array | None], dict[str, list[str]]]:
  """Reads all tensors, or names those that are missing or are no weights."""
  arrays, missing, misshapen, implausible = [], [], [], []
  for path, leaf in leaves:
    name, step = _name(path)
    if prefix + name not in readers:
      arrays.append(None)
      missing += [name] if name not in may_lack else []
      continue
    tensor, shape = readers[prefix + name](), leaf.shape[::step]
    if tensor.shape != shape:
      misshapen.append(f"{name} {tensor.shape} instead of {shape}")
    elif why := _implausible(tensor):
      implausible.append(f"{name} {why}")
    elif not (missing or misshapen or implausible):
      tensor = np.asarray(tensor if step == 1 else tensor.T, leaf.dtype)
      # One tensor at a time is in memory twice; the copy to the device puts
      # reversed axes in order, NumPy would take one of its own.
      arrays.append(jnp.array(tensor).block_until_ready())
  return arrays, {
    "missing": missing,
    "misshapen": misshapen,
    "implausible": implausible,
  }


def _implausible(tensor: np.ndarray) -> str:
  """Why an array cannot be weights, '' if it can."""
  if not jnp.issubdtype(tensor.dtype, jnp.floating) or tensor.itemsize < 2:
    return f"({tensor.dtype}, not float)"
  if np.isfinite(tensor).all():
    return ""
  return "(NaN)" if np.isnan(tensor).any() else "(infinite)"


def _name(path: Sequence[Any]) -> tuple[str, int]:
  """PyTorch's name of a leaf; -1 where its axes are reversed there, else 1."""
  *modules, leaf = (jax.tree_util.keystr((key,), simple=True) for key in path)
  modules = [re.sub(r"_(\d+)$", r".\1", module) for module in modules]
  is_weight = leaf in ("kernel", "scale", "embedding")
  name = ".".join((*modules, "weight" if is_weight else leaf))
  return name, -1 if leaf == "kernel" else 1


def _list(kind: str, found: Sequence[str]) -> str:
  more = len(found) - _LISTED
  end = f" and {more} more" if more > 0 else ""
  # Whatever a file gives as a name, the line stays one.
  shown = (n if n.isprintable() else repr(n) for n in found[:_LISTED])
  return f"{len(found)} {kind}: {', '.join(n[:120] for n in shown)}{end}"


def _shards(folder: pathlib.Path, file: str) -> dict[str, str]:
  """The file of each tensor, by the index of a sharded checkpoint."""
  shards = json_files.read(folder / file).get("weight_map")
  if not isinstance(shards, dict) or not all(
    isinstance(shard, str) and shard and pathlib.PurePath(shard).name == shard
    for shard in shards.values()
  ):
    raise UserError(
      f"{folder / file}: weight_map names no files of this folder; download "
      "it again"
    )
  lost = [s for s in sorted(set(shards.values())) if not _is_there(folder / s)]
  if lost:
    why = folders.hint(folder, ()) or "download the folder again"
    raise UserError(
      f"{folder / file}: {_list('of its files are not there', lost)}; {why}"
    )
  return shards


def _open_shards(folder: pathlib.Path, file: str) -> Readers:
  """Opens every file that the index of a sharded checkpoint names."""
  shards = _shards(folder, file)
  readers = {}
  for shard in sorted(set(shards.values()), reverse=True):
    readers.update(_open(folder / shard))
  lost = [name for name in shards if name not in readers]
  if lost:
    raise UserError(
      f"{folder / file}: the files lack {_list('tensors', lost)}; download "
      "the folder again"
    )
  return readers


def _is_there(path: pathlib.Path) -> bool:
  try:
    return path.is_file()
  except (OSError, ValueError):  # A name too long, or with a zero byte.
    return False


def _open(path: pathlib.Path) -> Readers:
  if path.suffix == ".bin":
    return torch_archive.read(path)
  try:
    with safetensors.safe_open(path, "numpy") as file:
      keys = file.keys()
  except (safetensors.SafetensorError, OSError) as error:
    why = f"not a whole safetensors file ({error}); download it again"
    raise UserError(f"{path}: {files.instead(path) or why}") from error
  return {
    name: functools.partial(_read_safetensor, path, name) for name in keys
  }


def _read_safetensor(path: pathlib.Path, name: str) -> np.ndarray:
  # The file is opened for each tensor anew: pages of one that stays open count
  # as memory of this process, a second copy of the weights in the end.
  try:
    with safetensors.safe_open(path, "numpy") as file:
      return file.get_tensor(name)
  except (safetensors.SafetensorError, TypeError, OSError) as error:
    raise UserError(f"{path}: {name} is not readable ({error})") from error
