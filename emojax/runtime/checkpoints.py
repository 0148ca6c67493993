"""Checkpoints: the only place that knows Orbax.

A checkpoint holds the training state, the history of all rounds so far and the
type, shape and checksum of every array. All processes of a job write their
share of it, and read it on whatever number of devices there is then. Orbax
writes it in the background into a temporary folder and renames it when it is
whole, so a killed process leaves the previous one intact. Orbax itself restores
flipped bytes without complaint; the checksums are what finds them.
"""

import contextlib
import errno
import functools
import itertools
import logging
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from emojax.errors import UserError
from emojax.runtime import hosts

_LOG = logging.getLogger(__name__)

# Up to here a checksum is quicker computed in NumPy than its program compiled.
_FEW_BYTES = 2**22
# What Orbax, JSON and Zarr make of bytes or files that are wrong or missing.
_DAMAGE = (
  *(ValueError, LookupError, TypeError, AttributeError),
  *(FileNotFoundError, NotADirectoryError),
)


class Checkpoints:
  """The checkpoints of one run, the last two of which are kept."""

  def __init__(self, folder: str | os.PathLike):
    self._folder = pathlib.Path(folder).absolute()

  @functools.cached_property
  def _manager(self):
    # Half a second, which what begins anew need not wait for.
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy

    return ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=preservation_policy.LatestN(2),
        cleanup_tmp_directories=True,
      ),
    )

  def save(self, round_: int, state: Any, history: dict[str, np.ndarray]):
    """Starts to save what there is after `round_` rounds.

    Raises a UserError if this save or the one before found no room on the disk.
    """
    import orbax.checkpoint as ocp

    arrays = {"state": _describe(state), "history": _describe(history)}
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(state),
      history=ocp.args.StandardSave(history),
      arrays=ocp.args.JsonSave(arrays),
    )
    with self._explained():
      self._manager.wait_until_finished()
      # Orbax would find out half-way, and tell so in several pages.
      size = sum(leaf.nbytes for leaf in jax.tree.leaves((state, history)))
      if hosts.asked(lambda: shutil.disk_usage(self._folder).free < size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      self._manager.save(round_, args=items)

  def is_preempted(self, round_: int) -> bool:
    """Whether JAX has heard that this job's machines will be taken away.

    The same answer on all processes, which ask after every round.
    """
    # Before it, there is nobody who listens.
    return jax.process_count() > 1 and self._manager.reached_preemption(round_)

  def restore(
    self, init: Callable[[], Any], adapt: Callable[[Any], Any] | None = None
  ) -> tuple[int, Any, dict[str, np.ndarray]]:
    """Finished rounds, state and history of the newest sound checkpoint.

    Else 0, the state before training and no history. A damaged one is named in
    the log and moved aside, and the one before it taken.

    Args:
      init: makes the state before training. Of it, what is restored has shapes
        and shardings; its memory is free before anything is read.
      adapt: where the saved arrays have another first axis than that state,
        since there were more or fewer devices: makes the state of them.

    Raises:
      UserError: other shapes are saved, or this machine can not read them.
      RuntimeError: as JAX raises it: a device lacks memory, or another process
        has ended. No checkpoint is the worse for it.
    """
    state = init()
    if not hosts.asked(self._folder.exists):
      return 0, state, {}
    manager = self._manager  # Of all processes: Orbax waits for them in it.
    rounds = hosts.asked(lambda: sorted(manager.all_steps())[::-1])
    if not rounds:
      return 0, state, {}
    # Twice a state that just fits would not fit.
    state = jax.tree.map(_shape, state)
    for round_ in rounds:
      try:
        return round_, *self._read(round_, state, adapt)
      except UserError:
        raise
      # Orbax raises bare Exceptions for damage.
      except Exception as error:  # noqa: BLE001
        self._set_aside(round_, error)
        self._manager.reload()
    return 0, init(), {}

  def close(self) -> None:
    """Waits until all is on the disk; UserError if there is no room on it."""
    if "_manager" not in vars(self):
      return
    with self._explained():
      self._manager.wait_until_finished()
    self._manager.close()

  def _set_aside(self, round_: int, error: Exception) -> None:
    """Moves a damaged checkpoint out of the way.

    Raises what has nothing to do with the checkpoint.
    """
    # Of TensorStore's errors, the one that says why.
    cause = error.__cause__ or error
    reason = f"{type(cause).__name__}: {cause}".splitlines()[0][:120]
    path = self._folder / str(round_)
    if hosts.is_lost(cause) or isinstance(cause, RuntimeError):
      raise cause
    if not _is_damage(cause):
      if not isinstance(cause, OSError | ValueError | MemoryError):
        raise error
      raise UserError(
        f"{path} can not be read here ({reason}), and may be sound: mend that, "
        "and run the same command again to go on"
      ) from error
    beside = (
      path.with_name(f"{round_}.damaged-{n}") for n in itertools.count()
    )
    aside = next(path for path in beside if not path.exists())
    _LOG.warning(
      "checkpoint %d in %s is damaged (%s): moved to %s, going back to the one "
      "before it",
      *(round_, self._folder, reason, aside.name),
    )
    hosts.wait()  # All have looked.
    if hosts.is_first():
      path.rename(aside)
    hosts.wait()

  def _read(self, round_: int, state: Any, adapt) -> tuple[Any, dict]:
    import orbax.checkpoint as ocp

    arrays = self._manager.restore(
      round_, args=ocp.args.Composite(arrays=ocp.args.JsonRestore())
    )["arrays"]
    saved = {name: shape for name, (_, shape, _) in arrays["state"].items()}
    here = {name: list(leaf.shape) for name, leaf in _leaves(state)}
    if saved == here:
      adapt = None
    elif adapt is None or _without_first(saved) != _without_first(here):
      raise UserError(
        f"{self._folder / str(round_)} was saved by another version: choose "
        "another --workdir"
      )
    restored = self._manager.restore(
      round_,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(_abstract(state, saved)),
        history=ocp.args.StandardRestore(),
      ),
    )
    history = jax.tree.map(np.asarray, restored["history"])
    state = restored["state"]
    if arrays != {"state": _describe(state), "history": _describe(history)}:
      raise ValueError("checksums differ")
    return adapt(state) if adapt else state, history

  @contextlib.contextmanager
  def _explained(self):
    """Turns a full disk into one line, with nothing half-written left."""
    try:
      yield
    except (OSError, ValueError) as error:
      full = ("No space left", "Disk quota exceeded", "File too large")
      if not any(reason in str(error) for reason in full):
        raise
      for leftover in self._folder.glob("*.orbax-checkpoint-tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
      names = [path.name for path in self._folder.iterdir() if path.is_dir()]
      kept = sorted(int(name) for name in names if name.isdigit())
      state = (
        f"the checkpoint of round {kept[-1]} is kept" if kept else "none yet"
      )
      raise UserError(
        f"no room on the disk to save a checkpoint in {self._folder} "
        f"({state}): free some space and run the same command again to go on"
      ) from error


def _is_damage(cause: BaseException) -> bool:
  """Whether it tells of wrong bytes or missing files, not of this machine."""
  # So TensorStore ends what the system has refused it: too many open files, or
  # a disk that fails.
  refused = re.search("os_error_code='([0-9]+)'", str(cause))
  if refused and int(refused[1]) != errno.ENOENT:
    return False
  return isinstance(cause, _DAMAGE)


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _leaves(tree) -> list[tuple[str, Any]]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _without_first(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
  return {name: shape[1:] for name, shape in shapes.items()}


def _abstract(state, shapes: dict[str, list[int]]):
  """What Orbax reads arrays of these shapes to: the devices of `state`."""

  def describe(path, leaf):
    shape, sharding = tuple(shapes[jax.tree_util.keystr(path)]), leaf.sharding
    if shape != leaf.shape:
      # Another number of rows need not be one for these devices.
      sharding = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

  return jax.tree_util.tree_map_with_path(describe, state)


def _describe(tree) -> dict[str, list]:
  """Type, shape and checksum of every array, as JSON holds them."""
  named = _leaves(tree)
  # One after the other: simulated devices of a CPU that are to add up several
  # at once wait for one another for ever.
  checksums = [int(_checksum(leaf)) for _, leaf in named]
  return {
    name: [str(leaf.dtype), list(leaf.shape), checksum]
    for (name, leaf), checksum in zip(named, checksums, strict=True)
  }


def _checksum(leaf):
  if not isinstance(leaf, jax.Array):
    return zlib.crc32(np.ascontiguousarray(leaf))
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  is_here = leaf.is_fully_addressable or leaf.is_fully_replicated
  if is_here and leaf.nbytes < _FEW_BYTES:
    return _sum_of_hashes_here(np.asarray(leaf))
  return _sum_of_hashes(leaf)


def _sum_of_hashes_here(x: np.ndarray) -> np.ndarray:
  """The same as `_sum_of_hashes`, of which a program is compiled a shape."""
  bits = np.ascontiguousarray(x).reshape(-1).view(f"uint{8 * x.itemsize}")
  place = np.arange(x.size, dtype=np.uint32)
  return _mix(bits.astype(np.uint32), place).sum(dtype=np.uint32)


@jax.jit
def _sum_of_hashes(x: jax.Array) -> jax.Array:
  """Of every element with its place, uint32: however it is cut over devices."""
  if x.dtype == bool:
    x = x.astype(jnp.uint8)
  bits = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
  place = jnp.zeros(x.shape, jnp.uint32)
  for axis, size in enumerate(x.shape):
    place = place * size + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
  return _mix(bits.astype(jnp.uint32), place).sum(dtype=jnp.uint32)


def _mix(bits, place):
  """Of uint32s, by the end of MurmurHash3 (Appleby 2011)."""
  spread = place * np.uint32(0x9E3779B1) + np.uint32(0x7F4A7C15)
  mixed = bits ^ spread
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
    mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
  return mixed ^ (mixed >> np.uint32(16))
