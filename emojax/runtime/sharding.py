"""The device mesh of all processes, and programs that are mapped over it.

Mesh axes: `replica` (independent runs) and `data` (shards of a batch). Runs
know nothing of each other: their step is written for one device and mapped
(`jax.shard_map` inside `jax.jit`, what `jax.pmap` has become). A batch is a
whole: its step is written for all devices, and XLA cuts it (`compiled`). One
device is a 1 x 1 mesh through the same code, several hosts are a larger one.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# How a tree is cut over the mesh: its first axis over the runs, its first axis
# over the shards of a batch, or not at all.
REPLICA = PartitionSpec("replica")
DATA = PartitionSpec("data")
REPLICATED = PartitionSpec()

_SMALL = 1 << 14  # Elements that are not worth being cut.

# For programs that run once, such as a model's initialisation: on a CPU they
# take a minute to optimise and milliseconds to run.
RUNS_ONCE = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}


def make_mesh(num_data: int = 1) -> Mesh:
  """A mesh of all devices: `devices / num_data` replicas x `num_data` shards.

  The axes are Auto: with Explicit ones, the default of `jax.make_mesh`, Linen's
  recurrent layers fail.
  """
  num_replicas = jax.device_count() // num_data
  return jax.make_mesh(
    (num_replicas, num_data),
    ("replica", "data"),
    axis_types=(AxisType.Auto, AxisType.Auto),
  )


def local_mesh() -> Mesh:
  """The devices of this process alone, along `data`."""
  devices = np.array(jax.local_devices())[None]
  return Mesh(devices, ("replica", "data"), axis_types=(AxisType.Auto,) * 2)


def mapped(
  function: Callable,
  mesh: Mesh,
  in_specs: Sequence[PartitionSpec],
  out_specs,
  donate_argnums: Sequence[int] = (),
  compiler_options: dict | None = None,
) -> Callable:
  """Compiles a per-device `function` for all devices of `mesh`.

  Nothing in it may call LAPACK (QR, Cholesky, SVD, eigenvectors, `solve`; the
  initialiser `orthogonal` does): on CPUs its kernel waits for threads of the
  pool that the executions on all devices fill, and where these are more than
  the threads, for ever. Draw weights outside.
  """
  return jax.jit(
    by_shard(function, mesh, in_specs, out_specs),
    donate_argnums=tuple(donate_argnums),
    compiler_options=compiler_options,
  )


def by_shard(function: Callable, mesh: Mesh, in_specs, out_specs) -> Callable:
  """A per-device `function` as a part of a program of whole arrays."""
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=tuple(in_specs),
    out_specs=out_specs,
    # As under pmap, collectives are written out (`pmean`), not inferred.
    check_vma=False,
  )


def by_rows(function: Callable, rows: Sequence, shared: Sequence = ()):
  """`function(*shared, *rows)`, where each row is its own matter.

  Rows are trees of [B, ...], and so is the result; all of them see what is
  shared, and nothing that the function brings along is of this program.
  In a program that is `compiled` for several devices each of them takes its
  own: for what XLA does not cut by itself, FFTs and loops over rows, and would
  have all devices do for all rows.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.shape.get("data", 1) == 1 or "data" in mesh.manual_axes:
    return function(*shared, *rows)
  specs = *(REPLICATED,) * len(shared), *(DATA,) * len(rows)
  return by_shard(function, mesh, specs, DATA)(*shared, *rows)


def compiled(
  function: Callable,
  mesh: Mesh,
  out_specs,
  donate_argnums: Sequence[int] = (),
) -> Callable:
  """Compiles a `function` of whole arrays, which lie on the mesh.

  XLA cuts it as they are cut, and adds what the devices have to tell each
  other. So randomness, means and statistics are those of the whole batch: the
  result is the same on any number of devices. `out_specs` say how results are
  cut, one for each or for trees of them.
  """

  def program(*args):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # See `by_rows`.
      return function(*args)

  return jax.jit(
    program,
    out_shardings=jax.tree.map(
      lambda spec: NamedSharding(mesh, spec), out_specs, is_leaf=_is_spec
    ),
    donate_argnums=tuple(donate_argnums),
  )


def gathering(function: Callable) -> Callable:
  """`function(params, ...)` of `compiled` programs, where `spread_out` cuts.

  The parameters are gathered for it, and again for its gradient: XLA would
  otherwise cut what they are multiplied with, which is larger.
  """

  def gather(x):
    whole = NamedSharding(jax.sharding.get_abstract_mesh(), REPLICATED)
    return checkpoint_name(jax.lax.with_sharding_constraint(x, whole), "whole")

  return jax.checkpoint(
    lambda params, *args: function(jax.tree.map(gather, params), *args),
    policy=jax.checkpoint_policies.save_anything_except_these_names("whole"),
  )


def spread_out(tree, mesh: Mesh):
  """Specs that cut every large array over `data`, along its longest axis.

  Rajbhandari et al. 2020, "ZeRO": what each device would hold a copy of lies
  but once in the memory of all. `tree` has arrays or `jax.ShapeDtypeStruct`s.
  """
  count = mesh.shape["data"]

  def spec(leaf) -> PartitionSpec:
    axes = [i for i, size in enumerate(leaf.shape) if size % count == 0]
    if math.prod(leaf.shape) < _SMALL or not axes:
      return REPLICATED
    longest = max(axes, key=lambda axis: leaf.shape[axis])
    return PartitionSpec(*(None,) * longest, "data")

  return jax.tree.map(spec, tree)


def place(tree, mesh: Mesh, spec):
  """Puts every array of `tree` on the mesh, cut as `spec` says.

  `spec` is one for all, or a tree of them. With several processes each passes
  the same arrays.
  """
  if _is_spec(spec):
    spec = jax.tree.map(lambda _: spec, tree)
  shardings = jax.tree.map(
    lambda one: NamedSharding(mesh, one), spec, is_leaf=_is_spec
  )
  if jax.process_count() == 1:
    return jax.device_put(tree, shardings)
  return jax.tree.map(_place, tree, shardings)


def place_rows(tree, rows_B: np.ndarray, size: int, sharding: NamedSharding):
  """The batch of which this process has `local_rows`, over all devices.

  `tree` has these rows, [b, ...]; the batch has `size` of them.
  """
  if len(rows_B) == size:
    return jax.device_put(tree, sharding)

  def place_array(x):
    shape = (size, *x.shape[1:])
    return jax.make_array_from_process_local_data(sharding, x, shape)

  return jax.tree.map(place_array, tree)


def local_rows(size: int, sharding: NamedSharding) -> np.ndarray:
  """The rows of a batch of `size` that are on this process's devices."""
  indices = sharding.addressable_devices_indices_map((size,)).values()
  return np.unique(np.concatenate([np.arange(size)[i] for i in indices]))


def fetch(tree):
  """Whole NumPy arrays of what lies on the mesh, on every process."""
  return jax.device_get(jax.tree.map(_whole, tree))


def _is_spec(x) -> bool:
  return isinstance(x, PartitionSpec)


def _place(x, sharding: NamedSharding):
  if isinstance(x, jax.Array):
    if not x.is_fully_addressable:
      return _moved(sharding)(x)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
      data = _place(jax.random.key_data(x), sharding)
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  # `device_put` would send it to the other processes, to compare.
  x = np.asarray(x)
  return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])


def _whole(x):
  if isinstance(x, jax.Array) and not (
    x.is_fully_addressable or x.is_fully_replicated
  ):
    whole = _moved(NamedSharding(x.sharding.mesh, REPLICATED))(x)
    return jax.block_until_ready(whole)  # One exchange after the other.
  return x


@functools.cache
def _moved(sharding: NamedSharding) -> Callable:
  return jax.jit(lambda x: x, out_shardings=sharding)


def spread(num_runs: int, mesh: Mesh) -> np.ndarray:
  """Indices [P] of runs that fill the replica axis evenly, P >= num_runs.

  P is the next multiple of the number of replicas; the surplus repeats the
  first runs, and whoever reads results takes the first `num_runs` of them.
  """
  num_replicas = mesh.shape["replica"]
  padded = -(-num_runs // num_replicas) * num_replicas
  return np.arange(padded) % num_runs
