"""The set-up of JAX, and what a number was measured with."""

import platform
from importlib import metadata

import jax

from emojax.runtime.files import cache_folder

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def enable_compilation_cache() -> None:
  """Keeps compiled programs: in JAX_COMPILATION_CACHE_DIR, or the user's."""
  if jax.config.jax_compilation_cache_dir is None:
    folder = cache_folder() / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


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
