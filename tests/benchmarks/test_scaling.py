"""What a compiled program sends, read out of its text."""

import os
import subprocess
import sys

import pytest

from experiments.benchmarks import scaling

GRADIENT = """
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

mesh = jax.make_mesh((4,), ("data",))
cut, whole = (NamedSharding(mesh, PartitionSpec(*a)) for a in (("data",), ()))

def step(params, batch):
  loss = lambda params: (jnp.tanh(batch @ params["w"]) + params["b"]).sum()
  return jax.grad(loss)(params)

params = {"w": jnp.ones((7, 3)), "b": jnp.ones(3)}
args = jax.device_put(params, whole), jax.device_put(jnp.ones((8, 7)), cut)
jax.block_until_ready(jax.jit(step, out_shardings=whole)(*args))
"""


def test_gradients_of_all_parameters_are_summed(tmp_path):
  """By a real program: 7 x 3 weights and 3 biases, float32."""
  flags = "--xla_force_host_platform_device_count=4 --xla_dump_hlo_as_text"
  subprocess.run(
    [sys.executable, "-c", GRADIENT],
    env=os.environ
    | {
      "JAX_PLATFORMS": "cpu",
      "JAX_ENABLE_COMPILATION_CACHE": "false",
      "XLA_FLAGS": f"{flags} --xla_dump_to={tmp_path}",
    },
    check=True,
    capture_output=True,
  )
  found = scaling.reduced_bytes(tmp_path)
  # The sums over the batch of the biases are known without.
  assert found in ([4 * 7 * 3], [4 * (7 * 3 + 3)])


@pytest.mark.parametrize(
  ("shapes", "expected"),
  [
    ("f32[3,4]{1,0}", 48),
    ("(f32[2]{0}, bf16[5,2]{1,0}, f32[])", 8 + 20 + 4),
  ],
)
def test_bytes_of_shapes(tmp_path, shapes, expected):
  lines = (
    f"  %a = {shapes} all-reduce(%b), channel_id=1\n  %c = f32[9] add(%b)\n"
  )
  (tmp_path / "one.after_optimizations.txt").write_text(lines, encoding="utf-8")
  assert scaling.reduced_bytes(tmp_path) == [expected]
