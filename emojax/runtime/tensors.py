"""Trees of arrays as safetensors files."""

import pathlib
from typing import Any

import flax
import jax
import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes


def save(path: pathlib.Path, tree: Any) -> None:
  """Writes arrays, named by their path in the tree."""
  flat = flax.traverse_util.flatten_dict(jax.device_get(tree), sep="/")
  # `save_file` would keep all others than this user from reading it.
  path.write_bytes(to_bytes(jax.tree.map(np.ascontiguousarray, flat)))


def load(path: pathlib.Path) -> dict[str, Any]:
  """Reads it as NumPy arrays; a damaged file raises a SafetensorError."""
  return flax.traverse_util.unflatten_dict(load_file(path), sep="/")
