"""Locks between processes: files that one of them at a time holds."""

import errno
import fcntl
import logging
import os
import pathlib
from typing import IO

# What file systems say that have no locks.
_LOCKLESS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
_LOG = logging.getLogger(__name__)


def take(path: pathlib.Path, needed: bool = False) -> IO[str] | None:
  """The file that is locked, open; None where another process has it.

  The system takes the lock from a process that ends, however it ends. A disk
  without locks is warned of, and everybody's; nobody's where one is `needed`.
  """
  lock = path.open("a", encoding="utf-8")
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    is_ours = os.path.samestat(os.fstat(lock.fileno()), path.stat())
  except (BlockingIOError, FileNotFoundError):
    is_ours = False
  except OSError as error:
    if error.errno not in _LOCKLESS:
      raise
    is_ours = not needed
    if is_ours:
      _LOG.warning(
        "%s: a disk without locks; use it by one process", path.parent
      )
  if is_ours:
    return lock
  lock.close()
  return None


def release(lock: IO[str]) -> None:
  """Removes the file of a lock, and lets others have it."""
  # While it is held: whoever has opened the file will see that it went.
  pathlib.Path(lock.name).unlink(missing_ok=True)
  lock.close()
