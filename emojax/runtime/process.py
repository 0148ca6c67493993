"""A program as its user meets it: signals, and what it prints to.

`begin` comes before the slow imports, so this module has none. What it sets up
belongs to a program of ours: in a notebook, or in another's program, signals
and streams stay theirs, but for the rounds of a training (`on_stop`).

Python would raise KeyboardInterrupt wherever it is, and callbacks of the
garbage collector, of which JAX has one, swallow it: so nothing here raises.
"""

import collections
import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from emojax.runtime import allocator

if sys.platform == "win32":  # It lacks the signals below, and file locks.
  print("error: not on Windows itself: use WSL there", file=sys.stderr)
  sys.exit(2)

# Of Ctrl-C, of a scheduler, and of a terminal that closes.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOG = logging.getLogger(__name__)
_GOES_ON = "stopped; the same command goes on from there"

# What ends a program that was told to: its last line, and what it undoes.
_LINES = ["stopped"]
_UNDO: list[Callable[[], None]] = []
_WAITING: list[Callable[[int], None]] = []  # Who saves first.
_END = threading.RLock()
_OUTPUTS: list["_Output"] = []  # Of a program of ours: stdout and stderr.
_ERRORS = [2]  # The descriptor of stderr.
_QUIET: list[bool] = []
_SEEN: collections.Counter[int] = collections.Counter()  # By `_watch`.


def begin() -> None:
  """Makes this process a program of ours; to be called once, before all else.

  From here on SIGINT, SIGTERM and SIGHUP end it at once, with one line and the
  exit code 128 + signal, unless they are ignored (`nohup`, `&` in a script) or
  `on_stop` is waiting for them. Text that a stream's encoding lacks is
  escaped; a stream that does not take what is printed stops nobody: see
  `exit_code`.
  """
  _open_streams()
  allocator.keep_memory()
  # Tracing a program makes a million small objects, most of which it keeps.
  gc.set_threshold(50_000, 20, 100)
  # What it has to tidy up behind a killed program is nobody's concern.
  sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)
  # The main thread may be in the compiler for minutes.
  threading.Thread(target=_watch, args=(read,), daemon=True).start()
  for number in _heeded():
    signal.signal(number, _finish)


def listen_again() -> None:
  """Takes the signals back from a library that has put handlers of its own."""
  for number in _heeded():
    signal.signal(number, signal.getsignal(number))


def be_quiet() -> None:
  """Leaves all but errors to another process that does the same."""
  _QUIET.append(True)
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, 1)
  os.close(nowhere)
  logging.getLogger("emojax").setLevel(logging.ERROR)


def is_quiet() -> bool:
  """Whether another process prints what this one would."""
  return bool(_QUIET)


def print_errors_to(number: int) -> None:
  """Makes another descriptor the stderr of this program."""
  sys.stderr.flush()
  _ERRORS[0] = number
  if _OUTPUTS:
    _OUTPUTS.pop()
    _open_stream(number, "stderr")
    for handler in logging.getLogger().handlers:
      if isinstance(handler, logging.StreamHandler):
        handler.setStream(sys.stderr)


def exit_code(code: int) -> int:
  """What the program's exit code is, in the light of what stdout has taken.

  141, as of any filter, where its reader has gone (`| head`); 2, with one line,
  where it could not be written.
  """
  for stream in (sys.stdout, sys.stderr):
    stream.flush()
  error = _OUTPUTS[0].error if _OUTPUTS else None
  if error is None or code:
    return code
  if isinstance(error, BrokenPipeError):
    return 128 + signal.SIGPIPE
  print(
    f"error: not all could be printed to standard output ({error.strerror})",
    file=sys.stderr,
  )
  return 2


@contextlib.contextmanager
def on_stop(handle: Callable[[int], None]) -> Iterator[None]:
  """Tells `handle` of the signals that ask the job to stop.

  It gets the signal's number, and may raise. A second signal of the same kind
  ends the process at once. In other threads than the main one signals stay what
  they are.
  """
  is_main = threading.current_thread() is threading.main_thread()
  seen, handled = _SEEN.copy(), []

  def request(number: int, frame) -> None:
    del frame
    handled.append(number)
    signal.signal(number, signal.SIG_DFL)
    handle(number)

  previous = {}
  if is_main:
    _WAITING.append(handle)
    previous = {n: signal.signal(n, request) for n in _heeded()}
  try:
    yield
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
    if is_main:
      # The watching thread may be late: it is not to take these for new ones.
      until = time.monotonic() + 1
      while (
        _OUTPUTS
        and any(_SEEN[number] == seen[number] for number in handled)
        and time.monotonic() < until
      ):
        time.sleep(0.01)
      _WAITING.remove(handle)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
  """Within it, a stop says that the same command goes on.

  In what is no program of ours it raises SystemExit.
  """

  def leave(number: int) -> None:
    _LOG.warning(_GOES_ON)
    raise SystemExit(128 + number)

  if not _OUTPUTS:
    with on_stop(leave):
      yield
    return
  _LINES.append(_GOES_ON)
  try:
    yield
  finally:
    _LINES.remove(_GOES_ON)


@contextlib.contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
  """Calls `undo` at the end, also where a signal ends the program."""
  _UNDO.append(undo)
  try:
    yield
  finally:
    _UNDO.remove(undo)
    undo()


@contextlib.contextmanager
def deaf() -> Iterator[None]:
  """Threads and processes that are started in it hear no `ENDING` signals.

  Schedulers and terminals signal every process of a job, also those that are
  still importing. This process hears them, at the end at the latest.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(hears: bool) -> None:
  """Makes a process that was started in `deaf` end with its parent.

  If it `hears` signals, they end it, too, without a word.
  """
  if hears:
    for number in ENDING:
      signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
  import multiprocessing

  def follow_parent():
    # One that is killed can not tell its workers; they would wait for ever.
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


class _Output(io.FileIO):
  """Takes everything; what the first error was is remembered."""

  error: OSError | None = None

  def write(self, data) -> int:
    if self.error is None:
      try:
        return super().write(data)
      except OSError as error:
        self.error = error
    return len(data)


def _open_streams() -> None:
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      # Closed (`>&-`): the next file would get its number, and all that is
      # printed. What can only be read refuses to be written, as before.
      os.open(os.devnull, os.O_RDONLY)
  for number, name in ((1, "stdout"), (2, "stderr")):
    _open_stream(number, name)


def _open_stream(number: int, name: str) -> None:
  before = getattr(sys, name)
  output = _Output(number, "w", closefd=False)
  stream = io.TextIOWrapper(
    io.BufferedWriter(output),
    encoding=before.encoding if before else "utf-8",
    errors="backslashreplace",
    line_buffering=True,
  )
  setattr(sys, name, stream)
  _OUTPUTS.append(output)


def _heeded() -> list[signal.Signals]:
  """The signals that whoever started this process has not told it to ignore."""
  return [
    number
    for number in ENDING
    if signal.getsignal(number) not in (signal.SIG_IGN, None)
  ]


def _watch(read: int) -> None:
  """Ends the program as soon as a signal comes, whatever the main thread does.

  Python writes the number of each one that it hears.
  """
  while True:
    for number in os.read(read, 64):
      if number in ENDING and not _WAITING:
        _finish(number)
      _SEEN[number] += 1


def _finish(number: int, frame=None) -> None:
  del frame
  # Who comes second waits here, and for good.
  with _END:
    try:
      with contextlib.suppress(OSError):
        os.write(_ERRORS[0], f"{_LINES[-1]}\n".encode())
      for undo in reversed(_UNDO):
        with contextlib.suppress(OSError):
          undo()
      if "multiprocessing.process" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
          child.kill()
    finally:
      os._exit(128 + number)
