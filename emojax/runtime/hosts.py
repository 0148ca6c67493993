"""Many processes, one training: who writes, and what they agree on.

Every process runs the same program over the devices of all of them. What is not
the devices' work is the first process's: it writes files, prints and looks
things up, and tells the others. They talk through the service that JAX starts
in the first process, so that waiting takes no device. With one process, all
of this is nothing.

All processes have to call these functions in the same order.
"""

import contextlib
import functools
import itertools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from emojax.errors import UserError, one_line
from emojax.runtime import native_stderr, process

T = TypeVar("T")

# What a training ends with that has lost another of its processes: EX_TEMPFAIL,
# the same command goes on.
LOST = 75
_HEARTBEAT = 20  # Seconds without a word after which a process counts as dead.
_START = 300  # Seconds in which all processes have to come.
_MONTH = 30 * 24 * 3600  # The first one may prepare a corpus for hours.
_FAREWELL = 5  # Seconds for which one that fails waits for the others.
_CALLS = itertools.count()


def begin(
  coordinator: str | None, process_id: int | None, num_processes: int | None
) -> None:
  """Joins the processes of a job; before any device is touched.

  Without arguments a Slurm job, a GKE job or a TPU pod tells who they are.

  Args:
    coordinator: `host:port` of the first process.
    process_id: of this one, from 0.
    num_processes: of all.

  Raises:
    UserError: they can not be told, or do not come.
  """
  import jax
  from jax.experimental import multihost_utils

  if coordinator is not None and ":" not in coordinator:
    raise UserError(f"--coordinator={coordinator}: name a host and a port")
  given = coordinator, num_processes, process_id
  if None in given and given != (None, None, None):
    raise UserError(
      "--distributed outside of a cluster takes all three: --coordinator, "
      "--process_id and --num_processes"
    )
  native_stderr.watch("JAX distributed service detected fatal errors", _lost)
  try:
    jax.distributed.initialize(
      *given,
      # Which devices of its host a process has is Slurm's matter, if any.
      cluster_detection_method=None if coordinator is None else "deactivate",
      initialization_timeout=_START,
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_HEARTBEAT,
    )
  except (RuntimeError, ValueError, TypeError) as error:
    raise UserError(
      f"--distributed: the processes do not find each other "
      f"({str(error).strip().splitlines()[0][:200]}); name --coordinator=HOST:"
      "PORT, --process_id and --num_processes, or run it in a job of Slurm, "
      "GKE or a TPU pod"
    ) from error
  process.listen_again()  # JAX has put a handler of its own for SIGTERM.
  # Later one of them may compile for minutes, and the first words that devices
  # exchange have to come within seconds of each other.
  multihost_utils.sync_global_devices("begin")
  if not is_first():
    process.be_quiet()


def is_first() -> bool:
  """Whether this process writes and prints."""
  return _state() is None or _state().process_id == 0


def asked(find: Callable[[], T]) -> T:
  """What the first process finds, on all of them; JSON can hold it.

  Where it fails they end as it does, and no scheduler begins them again.
  """
  if _state() is None:
    return find()
  key = _key("asked")
  if not is_first():
    return _heard(key)
  with _told(key) as told:
    told["value"] = find()
  return told["value"]


def largest(value: int) -> int:
  """The largest of the numbers that the processes pass, from 0."""
  state = _state()
  if state is None:
    return value
  key = _key("largest")
  if value:
    state.client.key_value_set(f"{key}/{state.process_id}", str(value))
  state.client.wait_at_barrier(key, _MONTH * 1000)
  return max(
    (int(x) for _, x in state.client.key_value_dir_get(key)), default=0
  )


def wait() -> None:
  """Returns when all processes have come here."""
  state = _state()
  if state is not None:
    state.client.wait_at_barrier(_key("wait"), _MONTH * 1000)


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
  """Lets the first process through, and the others when it has done.

  What it has kept in a cache is there for the others, where they share it.
  Where it fails they end as it does.
  """
  key = _key("alone")
  if not is_first():
    _heard(key)
  with _told(key) if is_first() else contextlib.nullcontext():
    yield


def share(values: list) -> list:
  """This process's share of a list."""
  state = _state()
  return (
    values if state is None else values[state.process_id :: state.num_processes]
  )


@contextlib.contextmanager
def explained() -> Iterator[None]:
  """Ends this process where another one has died, in one line.

  Whatever else it raises waits a little for the others, which may be about to
  say the same: the end of one is the end of all. What all have to say is said
  once.
  """
  try:
    yield
  except (Exception, SystemExit) as error:
    if _state() is not None and is_lost(error):
      _lost(sys.stderr.fileno(), one_line(str(error))[:200])
    is_said = not is_first()
    if not _left_together():
      _leave(error)
    if is_said and isinstance(error, UserError):
      raise SystemExit(2) from error
    raise
  _left_together()


def _left_together() -> bool:
  """Leaves the job, if all do so within seconds; or there is none."""
  import jax

  if _state() is None:
    return True
  try:
    _state().client.wait_at_barrier("farewell", _FAREWELL * 1000)
    jax.distributed.shutdown()
  except jax.errors.JaxRuntimeError:
    return False
  return True


def _leave(error: BaseException) -> None:
  """Ends this process alone: JAX's own end waits for the others, and aborts."""
  code = 1
  if isinstance(error, SystemExit):
    code = error.code
  elif isinstance(error, UserError):
    print(f"error: {error}", file=sys.stderr)
    code = 2
  else:
    traceback.print_exception(error)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


@functools.cache
def _joined():
  from jax._src import distributed

  return distributed.global_state


def _state():
  """JAX's own, which has no public name; None where there is one process."""
  if "jax" not in sys.modules or _joined().client is None:
    return None
  return _joined()


def _key(name: str) -> str:
  return f"emojax/{name}/{next(_CALLS)}"


@contextlib.contextmanager
def _told(key: str) -> Iterator[dict[str, Any]]:
  """Tells the others the `value` that it is given, or how it has ended."""
  told = {}
  try:
    yield told
  except UserError as error:
    told["error"] = str(error)
    raise
  except (Exception, SystemExit) as error:
    told["code"] = error.code if isinstance(error, SystemExit) else 1
    raise
  finally:
    if _state() is not None:
      _state().client.key_value_set(key, json.dumps(told))


def _heard(key: str) -> Any:
  """What the first process tells; it ends as that one does."""
  told = json.loads(_state().client.blocking_key_value_get(key, _MONTH * 1000))
  if "error" in told:
    raise UserError(told["error"])
  if "code" in told:
    raise SystemExit(told["code"])
  return told.get("value")


def is_lost(error: BaseException) -> bool:
  """Whether it tells of another process; JAX has several types for that."""
  signs = "Gloo", "NCCL", "coordination", "heartbeat", "Barrier failed"
  return isinstance(error, RuntimeError | ValueError) and any(
    sign in str(error) for sign in signs
  )


def _lost(stderr: int, why: str = "it does not answer") -> None:
  line = (
    f"error: another process of this training has ended ({why}): see what it "
    "says; the same command on all of them goes on after the last checkpoint\n"
  )
  os.write(stderr, line.encode())
  os._exit(LOST)
