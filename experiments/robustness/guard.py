"""Watches one input being read, and says how it came out.

Right is one of two: it is read, and what is read keeps its contract; or it is
refused in one line that names it. All else is a fault.
"""

import collections
import contextlib
import dataclasses
import logging
import os
import pathlib
import re
import resource
import signal
import sys
import sysconfig
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from emojax import cli
from emojax.errors import Unreadable, UserError

READ, REFUSED = "read", "refused"
SECONDS = 10.0
MEMORY = 2 << 30  # Bytes, of the whole process.
_LONGEST = 2_000  # Characters of a message.
_PRINTED = 10  # Lines of libraries that write by themselves, as mpg123 does.
_ROOT = pathlib.Path(__file__).parents[2]
# Code and modules from here may be run: it is what the readers are made of.
_TRUSTED = (
  *(str(_ROOT), sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib")),
  *("<frozen", "<__array_function__", "<attrs", "<decorator"),
)
# They write the code of classes themselves.
_WRITERS = (dataclasses.__file__, collections.__file__)
_NEVER = (
  *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"),
  *("os.startfile", "os.kill", "subprocess.Popen", "pty.spawn"),
  *("socket.connect", "socket.getaddrinfo", "socket.bind", "ctypes.dlopen"),
  *("webbrowser.open", "pickle.find_class", "ftplib.connect", "sys.setprofile"),
  "code.__new__",
)
_CHANGES = (
  *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink"),
  *("os.truncate", "os.chmod", "os.utime", "os.setxattr", "shutil.rmtree"),
  *("shutil.move", "shutil.copyfile", "shutil.chown", "os.chown"),
)
_PROGRESS = re.compile(r"\[\d\d:\d\d")  # Seconds so far.
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooSlowError(BaseException):
  """The alarm rang; nothing that catches an Exception catches this."""


class ContractError(Exception):
  """Something was read that is not what the reader promises."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How an input came out: `READ`, `REFUSED`, or the kind of fault.

  `why` is the message or what went wrong; `where` tells one fault from another.
  """

  kind: str
  why: str = ""
  where: str = ""

  @property
  def is_fault(self) -> bool:
    return self.kind not in (READ, REFUSED)


def require(holds: bool, what: str) -> None:
  """Raises a `ContractError` where something does not hold."""
  if not holds:
    raise ContractError(what)


class _Watch:
  """What the audit hook saw while an input was read."""

  def __init__(self):
    self.sandbox: str | None = None  # None: nothing is being read.
    self.events: list[str] = []
    self.is_installed = False

  def install(self) -> None:
    """Adds the hook, which stays in the process."""
    if not self.is_installed:
      sys.addaudithook(self._see)
      self.is_installed = True

  def _see(self, event: str, arguments: tuple) -> None:
    if self.sandbox is None:
      return
    sandbox, self.sandbox = self.sandbox, None  # Nothing that is done here.
    try:
      if found := _suspicion(event, arguments, sandbox):
        self.events.append(found)
    finally:
      self.sandbox = sandbox


_WATCH = _Watch()


def _suspicion(event: str, arguments: tuple, sandbox: str) -> str:
  """What is wrong with an audit event; '' if nothing is."""
  if event in _NEVER:
    return f"{event} {arguments!r}"[:200]
  if event == "open":
    path, mode, flags = arguments
    writes = (isinstance(flags, int) and flags & _WRITING) or (
      isinstance(mode, str) and set(mode) & set("wax+")
    )
    if writes and not _inside(path, sandbox):
      return f"writes to {path!r}"
  elif event in _CHANGES:
    # A link may hold anything; where it leads is looked at when it is there.
    paths = arguments[event == "os.symlink" :]
    names = [path for path in paths if isinstance(path, str | bytes)]
    if not all(_inside(path, sandbox) for path in names):
      return f"{event} {arguments!r}"[:200]
  elif event == "exec":
    name = getattr(arguments[0], "co_filename", "")
    if not name.startswith(_TRUSTED) and _caller() not in _WRITERS:
      return f"runs code of {name!r} in {_caller()}"
  elif event == "import":
    name, path = arguments[:2]
    if path and not str(path).startswith(_TRUSTED):
      return f"imports {name} from {path}"
  return ""


def _caller() -> str:
  """The file of the code that did what is listened to."""
  frame = sys._getframe()
  while frame and frame.f_code.co_filename == __file__:
    frame = frame.f_back
  return frame.f_code.co_filename if frame else ""


def _inside(path: Any, sandbox: str) -> bool:
  if isinstance(path, int):  # Opened before.
    return True
  path = os.path.abspath(os.fsdecode(path))
  return path.startswith((sandbox, "/dev/null"))


class _Messages(logging.Handler):
  """Keeps what is logged."""

  def __init__(self):
    super().__init__(logging.WARNING)
    self.setFormatter(cli.LineFormatter())
    self.faults: list[str] = []

  def emit(self, record: logging.LogRecord) -> None:
    message = self.format(record)
    if not record.name.startswith("emojax"):
      self.faults.append(f"{record.name} logs {message[:200]!r}")
    elif why := _unfit(message):
      self.faults.append(f"a warning {why}: {message[:200]!r}")


def _unfit(message: str) -> str:
  """What is wrong with a message for a user; '' if nothing is."""
  if len(message.splitlines()) > 1:
    return f"of {len(message.splitlines())} lines"
  if len(message) > _LONGEST:
    return f"of {len(message)} characters"
  return "" if message.isprintable() else "that can not be printed"


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
  """What is written to the streams of the process, libraries in C included."""
  lines: list[str] = []
  sys.stdout.flush()
  sys.stderr.flush()
  with tempfile.TemporaryFile() as file:
    kept = [os.dup(1), os.dup(2)]
    try:
      os.dup2(file.fileno(), 1)
      os.dup2(file.fileno(), 2)
      yield lines
    finally:
      sys.stdout.flush()
      sys.stderr.flush()
      for number, copy in zip((1, 2), kept, strict=True):
        os.dup2(copy, number)
        os.close(copy)
      file.seek(0)
      written = file.read().decode("utf-8", "replace").splitlines()
      lines += [line for line in written if not _PROGRESS.search(line)]


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
  """Raises `TooSlowError` in the main thread when the time is up."""
  if threading.current_thread() is not threading.main_thread():
    raise RuntimeError("an alarm can ring in the main thread only")

  def ring(*_):
    raise TooSlowError

  before = signal.signal(signal.SIGALRM, ring)
  # Again and again: it might ring in a place that swallows it.
  signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def install() -> None:
  """Starts to listen to what this process does; it cannot be undone."""
  _WATCH.install()


def peak_memory() -> int:
  """The most bytes that the process has held so far."""
  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def limit_memory() -> None:
  """Lets the process have `MEMORY` more than it has taken from the system."""
  pages = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()
  most = int(pages[0]) * resource.getpagesize() + MEMORY
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def watch(
  read: Callable[[pathlib.Path], Any],
  folder: pathlib.Path,
  named: tuple[str, ...] = (),
) -> Outcome:
  """Reads a folder; a refusal has to name it, or one of the `named`."""
  messages = _Messages()
  root = logging.getLogger()
  root.addHandler(messages)
  # Temporary files are the reader's own affair, if they are there.
  sandbox = os.path.abspath(folder.parent)
  try:
    with (
      _printed() as lines,
      warnings.catch_warnings(record=True) as warned,
    ):
      # What the house or Python leaves out is left out.
      warnings.simplefilter("always", append=True)
      _WATCH.events, _WATCH.sandbox = [], sandbox
      outcome = _run(read, folder, named)
      _WATCH.sandbox = None
  finally:
    _WATCH.sandbox = None
    root.removeHandler(messages)
  if _WATCH.events:
    return Outcome("executed", _WATCH.events[0], _WATCH.events[0][:60])
  if outcome.is_fault:
    return outcome
  for one in warned:
    why = f"{one.category.__name__}: {one.message}"[:300]
    return Outcome("warning", why, f"{one.category.__name__} {one.filename}")
  if messages.faults:
    return Outcome("warning", messages.faults[0], messages.faults[0][:40])
  if len(lines) > _PRINTED:
    return Outcome("printed", lines[0][:300], lines[0][:40])
  if peak_memory() > MEMORY:
    return Outcome("memory", f"{peak_memory() / 2**30:.1f} GiB", "peak")
  return outcome


def _run(read, folder, named) -> Outcome:
  try:
    with _alarm(SECONDS):
      read(folder)
  except (UserError, Unreadable) as error:
    if _ran_out(error):
      return Outcome(
        "memory", f"MemoryError, then: {error}"[:300], _place(error)
      )
    message = str(error)
    names = any(name in message for name in (*named, str(folder)))
    why = _unfit(message) or ("" if names else "that names no path")
    if why:
      return Outcome(
        "message", f"a line {why}: {message[:300]!r}", _place(error)
      )
    return Outcome(REFUSED, message)
  except ContractError as error:
    return Outcome("contract", str(error), str(error)[:40])
  except TooSlowError as error:
    return Outcome("hang", f"more than {SECONDS:.0f} s", _place(error))
  except KeyboardInterrupt:
    raise
  # Also SystemExit, and what Rust raises where it panics.
  except BaseException as error:  # noqa: BLE001  It is what is looked for.
    kind = "memory" if _ran_out(error) else "exception"
    why = f"{type(error).__name__}: {error}"[:300]
    return Outcome(kind, why, f"{type(error).__name__} {_place(error)}")
  return Outcome(READ)


def _ran_out(error: BaseException | None) -> bool:
  """Whether memory was what an error came from."""
  while error is not None:
    if isinstance(error, MemoryError):
      return True
    error = error.__cause__ or error.__context__
  return False


def _place(error: BaseException) -> str:
  """The innermost line of the house that an error went through."""
  frames = traceback.extract_tb(error.__traceback__)
  ours = [f for f in frames if f.filename.startswith(str(_ROOT / "emojax"))]
  if not ours:
    return ""
  name = pathlib.Path(ours[-1].filename).relative_to(_ROOT)
  return f"{name} {ours[-1].name}"
