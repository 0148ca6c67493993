"""The set-up of JAX, and what a number was measured with."""

import logging
import os
import platform
import tempfile
import warnings
from importlib import metadata

import jax
import numpy as np

from emojax.errors import UserError
from emojax.runtime.files import cache_folder

_LOG = logging.getLogger(__name__)
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def _enable_compilation_cache() -> None:
  """Keeps compiled programs: in JAX_COMPILATION_CACHE_DIR, or the user's.

  Goes on without, and says so, where that folder takes nothing.
  """
  # JAX warns of each program that it can not read or write.
  warnings.filterwarnings("ignore", "Error (read|writ)ing persistent comp")
  folder, variable = jax.config.jax_compilation_cache_dir, _FOLDER
  if folder is None:
    try:
      folder, variable = str(cache_folder() / "compiled"), "XDG_CACHE_HOME"
    except UserError as error:
      _LOG.warning("programs are compiled again each time: %s", error)
      return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
  if "://" in folder:
    return
  try:
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b"room for this")
  except OSError as error:
    jax.config.update("jax_enable_compilation_cache", False)
    _LOG.warning(
      "%s can not be written (%s): programs are compiled again each time; set "
      "%s to a folder that can",
      *(folder, error.strerror, variable),
    )


def require_devices() -> None:
  """Starts JAX's devices, and keeps what is compiled for them.

  Raises a UserError where they do not start.
  """
  _enable_compilation_cache()
  try:
    jax.block_until_ready(jax.device_put(np.zeros(1)))
  # A bare AssertionError where a platform was not built in.
  except (AssertionError, RuntimeError) as error:
    asked = jax.config.jax_platforms
    reason = str(error).strip().splitlines() or ["it is not installed here"]
    raise UserError(
      f"JAX can not start its devices (JAX_PLATFORMS={asked or ''}): "
      f"{reason[0][:300]}; name others, or JAX_PLATFORMS=cpu"
    ) from error


def describe() -> dict:
  """`{'versions': {package: version}, 'device': '8 x NVIDIA H100'}`."""
  devices = jax.devices()
  kind = devices[0].device_kind
  if devices[0].platform == "cpu":
    kind = f"{platform.machine()} CPU"
  versions = {name: metadata.version(name) for name in _PACKAGES}
  return {
    "versions": {"python": platform.python_version(), **versions},
    "device": f"{len(devices)} x {kind}",
  }
