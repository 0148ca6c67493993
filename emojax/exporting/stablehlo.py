"""A system as StableHLO, for JAX of this and later versions."""

import pathlib

import jax
from jax import export

from emojax.exporting.signatures import Signature
from emojax.kernels import target
from emojax.runtime import tensors

PLATFORMS = ("cpu", "cuda", "tpu")


def write(folder: pathlib.Path, signature: Signature) -> None:
  """Writes `model.stablehlo` and, as its first argument, the weights.

  Batch size and length stay open, and one file is for all platforms.
  """
  shapes = jax.eval_shape(lambda: signature.weights)
  with target.portable():
    program = export.export(jax.jit(signature.function), platforms=PLATFORMS)(
      shapes, *signature.symbolic_inputs()
    )
  (folder / "model.stablehlo").write_bytes(program.serialize())
  tensors.save(folder / "weights.safetensors", signature.weights)
