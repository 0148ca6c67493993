"""A Slurm for all tests of this folder."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.cluster import one_node


class Slurm:
  """Its commands, in one folder."""

  def __init__(self, environment: Mapping[str, str]):
    self._environment = environment

  def ask(
    self, *command: object, cwd: pathlib.Path | None = None, **variables: object
  ) -> str:
    """What one of its commands says, with these in the environment."""
    done = subprocess.run(
      list(map(str, command)),
      cwd=cwd,
      env=self._environment | {n: str(v) for n, v in variables.items()},
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()

  def shown(self, job: str) -> dict[str, str]:
    """`JobState`, `Restarts` and so on of a job."""
    words = self.ask("scontrol", "--oneliner", "show", "job", job).split()
    return dict(word.partition("=")[::2] for word in words)

  def wait(self) -> None:
    """Until all jobs have ended."""
    end = time.monotonic() + 600
    while queue := self.ask("squeue", "--noheader"):
      assert time.monotonic() < end, queue
      time.sleep(0.2)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
  if missing := one_node.missing():
    reason = f"no Slurm: no {', '.join(missing)}; Debian: slurm-wlm and munge"
    assert "EMOJAX_REQUIRE_SLURM" not in os.environ, reason
    pytest.skip(reason)
  # `python` of the jobs is the one that runs the tests.
  path = str(pathlib.Path(sys.executable).parent)
  with (
    tempfile.TemporaryDirectory(prefix="slurm-") as folder,
    one_node.running(pathlib.Path(folder)) as environment,
  ):
    found = f"{path}:{environment['PATH']}"
    yield Slurm(environment | {"PATH": found})
