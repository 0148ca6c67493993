"""What libraries in C++ print on stderr, and how they end the process.

JAX ends a process whose job has lost another one by `abort`, after a page of
its own. `watch` puts one line in its place; all else passes through.
"""

import atexit
import ctypes
import os
import select
import signal
import threading
from collections.abc import Callable

from emojax.runtime import process

# With which JAX begins to tell of the end of a job.
_FIRST_WORDS = b"coordination_service", b"preemption_sync_manager"
_PATIENCE = 3.0  # Seconds after which it was nothing.
_KEPT: list = []  # What C refers to.


class _Pipe:
  """Passes descriptor 2 on, but for what may be JAX's last words."""

  def __init__(self):
    self.out = os.dup(2)
    process.print_errors_to(self.out)
    self._read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    os.set_blocking(self._read, False)
    self._held = b""
    self._lock = threading.Lock()

  def follow(self) -> None:
    """Reads for ever."""
    while True:
      is_news, _, _ = select.select([self._read], [], [], _PATIENCE)
      self.pump(is_over=not is_news)

  def pump(self, is_over: bool) -> bytes:
    """Reads what there is; what is held goes on if `is_over`, or is given."""
    with self._lock:
      while chunk := self._chunk():
        self._held += chunk
      is_suspect = any(words in self._held for words in _FIRST_WORDS)
      if self._held and (is_over or not is_suspect):
        os.write(self.out, self._held)
        self._held = b""
      return self._held

  def _chunk(self) -> bytes:
    try:
      return os.read(self._read, 1 << 16)
    except BlockingIOError:
      return b""


def watch(sign: str, end: Callable[[int], None]) -> None:
  """Calls `end` in the place of an abort before which `sign` was printed.

  It gets the descriptor of the real stderr. From here on descriptor 2 is a
  pipe, whose lines are passed on.
  """
  pipe = _Pipe()
  libc = ctypes.CDLL(None)

  def on_abort(number: int) -> None:
    # In the thread that aborts, not amid whatever the main one does.
    if sign.encode() in pipe.pump(is_over=False):
      end(pipe.out)
    pipe.pump(is_over=True)
    signal.signal(number, signal.SIG_DFL)
    os.abort()

  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
  _KEPT.append(handler)
  libc.signal(signal.SIGABRT, handler)
  atexit.register(pipe.pump, is_over=True)
  threading.Thread(target=pipe.follow, daemon=True).start()
