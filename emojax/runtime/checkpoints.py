"""Checkpoints: the only place that knows Orbax.

A checkpoint holds the training state, the history of all rounds so far and the
type, shape and checksum of every array. Orbax writes it in the background into
a temporary folder and renames it when it is whole, so a killed process leaves
the previous one intact. Orbax itself restores flipped bytes without complaint;
the checksums are what finds them.
"""

import contextlib
import errno
import functools
import logging
import os
import pathlib
import shutil
import zlib
from typing import Any

import jax
import numpy as np

from emojax.errors import UserError

_LOG = logging.getLogger(__name__)


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
      if shutil.disk_usage(self._folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      self._manager.save(round_, args=items)

  def restore(self, state: Any) -> tuple[int, Any, dict[str, np.ndarray]]:
    """Finished rounds, state and history of the newest sound checkpoint.

    Else 0, `state` and no history. A damaged one is named in the log and
    removed, and the one before it taken. `state` gives shapes and shardings
    (arrays or their `jax.ShapeDtypeStruct`s); a UserError if others are saved.
    """
    if not self._folder.exists():
      return 0, state, {}
    for round_ in sorted(self._manager.all_steps(), reverse=True):
      try:
        return round_, *self._read(round_, state)
      except UserError:
        raise
      # Orbax raises bare Exceptions for damage.
      except Exception as error:  # noqa: BLE001
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        _LOG.warning(
          "checkpoint %d in %s is damaged (%s): removed, going back to the "
          "one before it",
          round_,
          self._folder,
          reason,
        )
        shutil.rmtree(self._folder / str(round_))
        self._manager.reload()
    return 0, state, {}

  def close(self) -> None:
    """Waits until all is on the disk; UserError if there is no room on it."""
    if "_manager" not in vars(self):
      return
    with self._explained():
      self._manager.wait_until_finished()
    self._manager.close()

  def _read(self, round_: int, state: Any) -> tuple[Any, dict]:
    import orbax.checkpoint as ocp

    arrays = self._manager.restore(
      round_, args=ocp.args.Composite(arrays=ocp.args.JsonRestore())
    )["arrays"]
    saved = {name: shape for name, (_, shape, _) in arrays["state"].items()}
    if saved != {name: list(leaf.shape) for name, leaf in _leaves(state)}:
      raise UserError(
        f"{self._folder / str(round_)} was saved with another number of "
        f"devices (here: {jax.device_count()}) or by another version: use the "
        "same, or choose another --workdir"
      )
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      state,
    )
    restored = self._manager.restore(
      round_,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract),
        history=ocp.args.StandardRestore(),
      ),
    )
    history = jax.tree.map(np.asarray, restored["history"])
    state = restored["state"]
    if arrays != {"state": _describe(state), "history": _describe(history)}:
      raise ValueError("checksums differ")
    return state, history

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
      kept = sorted(int(p.name) for p in self._folder.iterdir() if p.is_dir())
      state = (
        f"the checkpoint of round {kept[-1]} is kept" if kept else "none yet"
      )
      raise UserError(
        f"no room on the disk to save a checkpoint in {self._folder} "
        f"({state}): free some space and run the same command again to go on"
      ) from error


def _leaves(tree) -> list[tuple[str, Any]]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _describe(tree) -> dict[str, list]:
  """Type, shape and checksum of every array, as JSON holds them."""
  found = {}
  for name, leaf in _leaves(tree):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    content = np.ascontiguousarray(
      jax.random.key_data(leaf) if is_key else leaf
    )
    found[name] = [str(leaf.dtype), list(leaf.shape), zlib.crc32(content)]
  return found
