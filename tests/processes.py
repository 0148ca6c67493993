"""Real processes that need not import first: forks of one that has imported.

An ordinary start takes seconds of imports. A fork can be killed, given devices
and told what is wrong as any other process; but it does not end as Python
does, so one start at least of each entry point has to be an ordinary one.
"""

import functools
import gc
import importlib
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import context, forkserver

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# None of them touches a device, for which a fork would come too late; nor an
# entry point, which defines flags. The last ones are what a study imports when
# it saves, probes and draws: three seconds each time.
_IMPORTED = [
  *(f"emojax.trainers.{name}" for name in ("dann", "rlps", "speech")),
  *("orbax.checkpoint", "emojax.reports.figures"),
  *("emojax.reports.projection", "emojax.reports.speaker_probe"),
]
_STREAMS = ("stdout", "stderr")


class Process:
  """Of `subprocess.Popen` what tests need; it prints to files."""

  def __init__(
    self,
    main: str | Callable[[list[str]], None],
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
  ):
    """Begins `main`, or that of the module of this name, as a command."""
    self._folder = tempfile.TemporaryDirectory()
    self._files = [pathlib.Path(self._folder.name, name) for name in _STREAMS]
    given = (main, list(arguments), dict(environment or os.environ))
    target = functools.partial(_begin, *given, *self._files)
    self._process = _server().Process(target=target)
    self._process.start()
    self.pid = self._process.pid

  def __enter__(self) -> "Process":
    return self

  def __exit__(self, *_: object) -> None:
    self.kill()
    self._process.join()
    self._folder.cleanup()

  @property
  def returncode(self) -> int | None:
    return self._process.exitcode

  def send_signal(self, number: int) -> None:
    if self.returncode is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    self._process.kill()

  def communicate(self, timeout: float = 300) -> tuple[str, str]:
    """Waits for its end; returns what it has printed."""
    self._process.join(timeout)
    assert self.returncode is not None, f"it does not end: {self.printed()}"
    return self.printed()

  def printed(self) -> tuple[str, str]:
    """What it has printed until now, standard output and error."""
    stdout, stderr = (
      file.read_text(encoding="utf-8") if file.exists() else ""
      for file in self._files
    )
    return stdout, stderr


def run(
  main: str | Callable[[list[str]], None],
  arguments: Sequence[str],
  environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
  """`subprocess.run` of such a process."""
  with Process(main, arguments, environment) as process:
    printed = process.communicate()
    return subprocess.CompletedProcess(main, process.returncode, *printed)


@functools.cache
def _server() -> context.ForkServerContext:
  """What forks, with everything imported."""
  server = multiprocessing.get_context("forkserver")
  server.set_forkserver_preload(_IMPORTED)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("PYTHONPATH", str(ROOT))  # It takes over no other paths.
    patch.setenv("JAX_PLATFORMS", "cpu")  # JAX reads it when it is imported.
    forkserver.ensure_running()
  return server


def _begin(
  main: str | Callable[[list[str]], None],
  arguments: list[str],
  environment: dict[str, str],
  *outputs: pathlib.Path,
) -> None:
  os.chdir(ROOT)
  os.environ.clear()
  os.environ.update(environment)
  for stream, output in enumerate(outputs, start=1):
    with open(output, "wb") as file:
      os.dup2(file.fileno(), stream)
  # What the imports have left stays: not to be walked over in each process.
  gc.freeze()
  gc.set_threshold(50_000, 20, 100)
  from emojax import cli  # Not where pytest imports this module.

  sys.argv = [str(main), *arguments]
  if isinstance(main, str):
    main = importlib.import_module(main).main
  sys.exit(cli.run(main, sys.argv))
