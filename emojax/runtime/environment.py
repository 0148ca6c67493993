"""What a number was measured with: package versions and the device."""

import platform
from importlib import metadata

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


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
