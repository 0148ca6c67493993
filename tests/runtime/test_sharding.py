"""The mesh on one device here, and on eight in a process of its own."""

import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from emojax.runtime import sharding
from tests import processes


@pytest.mark.parametrize(
  ("num_runs", "num_replicas", "expected"),
  [
    (3, 1, [0, 1, 2]),
    (8, 4, [0, 1, 2, 3, 4, 5, 6, 7]),
    (5, 4, [0, 1, 2, 3, 4, 0, 1, 2]),
    (1, 4, [0, 0, 0, 0]),
  ],
)
def test_spread_fills_the_replicas(num_runs, num_replicas, expected):
  mesh = types.SimpleNamespace(shape={"replica": num_replicas})
  assert sharding.spread(num_runs, mesh).tolist() == expected


def test_a_mesh_of_everything():
  mesh = sharding.make_mesh()
  assert dict(mesh.shape) == {"replica": jax.device_count(), "data": 1}
  assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)


def test_a_mapped_program_is_the_program():
  mesh = sharding.make_mesh()
  function = sharding.mapped(
    lambda x, y: (x * y, y),
    mesh,
    (sharding.REPLICA, sharding.REPLICATED),
    (sharding.REPLICA, sharding.REPLICATED),
    donate_argnums=(0,),
    compiler_options=sharding.RUNS_ONCE,
  )
  x = sharding.place(jnp.arange(4.0), mesh, sharding.REPLICA)
  assert x.sharding == NamedSharding(mesh, PartitionSpec("replica"))
  product, same = function(x, jnp.float32(3))
  np.testing.assert_array_equal(product, [0, 3, 6, 9])
  assert same == 3
  assert x.is_deleted()  # Donated.


def on_eight_devices(argv: list[str]) -> None:
  mesh = sharding.make_mesh(num_data=2)
  assert dict(mesh.shape) == {"replica": 4, "data": 2}

  def program(x, batch):
    assert x.shape == (2,) and batch.shape == (3,)  # A device's share.
    total = jax.lax.psum((x[:, None] * batch[None]).sum(1), "data")
    return total, total[:1]

  function = sharding.mapped(
    program,
    mesh,
    (sharding.REPLICA, jax.sharding.PartitionSpec("data")),
    (sharding.REPLICA, sharding.REPLICA),
  )
  x = sharding.place(np.arange(8.0, dtype=np.float32), mesh, sharding.REPLICA)
  total, first = function(x, np.arange(6.0, dtype=np.float32))
  np.testing.assert_array_equal(total, 15 * np.arange(8))
  np.testing.assert_array_equal(first, 15 * np.arange(0, 8, 2))
  assert len({s.device for s in total.addressable_shards}) == 8
  assert sharding.spread(5, mesh).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_eight_devices_as_replicas_and_shards():
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
  environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
  done = processes.run(on_eight_devices, [], environment)
  assert done.returncode == 0, done.stderr
