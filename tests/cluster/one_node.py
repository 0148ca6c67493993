"""A real Slurm of one node, with all of its files in one folder.

No root, no systemd, no cgroups: munged, slurmctld and slurmd run as whoever
starts them, on ports of their own, and end as children do.

  python tests/cluster/one_node.py FOLDER COMMAND …

runs a command in it, such as bash, in which sbatch, squeue and so on ask it.
"""

import contextlib
import getpass
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
# Where Debian has daemons; not on every user's path.
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
# Two tasks are to run at once wherever they run, hence CPUs that are not there.
# A job that was requeued waits for its credential to expire: 6 s here, else two
# minutes. KillWait is the time that `scancel` leaves. The node is called
# localhost, as that resolves everywhere: JAX finds its coordinator by it.
_CONFIG = """
ClusterName=one
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
KillWait=20
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=16
PartitionName=main Nodes=ALL Default=YES
"""


def missing() -> list[str]:
  """The programs of it that this machine lacks."""
  return [name for name in PROGRAMS if not shutil.which(name, path=_PATH)]


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[dict[str, str]]:
  """The environment in which Slurm's commands ask this one; its files.

  `folder` has to be there, for its owner alone. The jobs end with it.
  """
  folder = folder.resolve()
  key = folder / "munge.key"
  key.write_bytes(secrets.token_bytes(128))
  key.chmod(0o400)
  for name in ("state", "spool"):
    (folder / name).mkdir()
  config = folder / "slurm.conf"
  host = socket.gethostname().partition(".")[0]
  given = {"folder": folder, "user": getpass.getuser(), "host": host}
  text = _CONFIG.format(ports=_free_ports(2), **given)
  config.write_text(text, encoding="utf-8")
  environment = os.environ | {"SLURM_CONF": str(config), "PATH": _PATH}
  # It may be forced: the folder is for one user alone, who asks it.
  munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
  for name in ("socket", "pid", "seed", "log"):
    option = name if name == "socket" else f"{name}-file"
    munged.append(f"--{option}={folder}/munge.{name}")
  with contextlib.ExitStack() as daemons:
    for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
      daemon = _daemon(command, folder, environment)
      _wait_for_it(daemons.enter_context(daemon), folder, environment)
    try:
      yield environment
    finally:
      _end_jobs(environment)


@contextlib.contextmanager
def _daemon(command, folder, environment) -> Iterator[subprocess.Popen]:
  log = folder / f"{command[0]}.out"
  with open(log, "wb") as file:
    process = subprocess.Popen(
      command, env=environment, stdout=file, stderr=file
    )
  try:
    yield process
  finally:
    process.terminate()
    process.wait(60)


def _wait_for_it(daemon: subprocess.Popen, folder, environment) -> None:
  """Until it answers."""
  name = daemon.args[0]
  question, answer = {
    "munged": (["ls", f"{folder}/munge.socket"], "munge.socket"),
    "slurmctld": (["scontrol", "ping"], "is UP"),
    "slurmd": (["sinfo", "--noheader", "--format=%T"], "idle"),
  }[name]
  end = time.monotonic() + 60
  while answer not in _ask(question, environment):
    if daemon.poll() is not None or time.monotonic() > end:
      log = (folder / f"{name}.out").read_text(encoding="utf-8")
      raise RuntimeError(f"{name} does not start: {log}")
    time.sleep(0.1)


def _end_jobs(environment) -> None:
  """Kills what still runs: a job would outlive the daemons."""
  everything = ["--user", getpass.getuser()]
  end = time.monotonic() + 60
  while _ask(["squeue", "--noheader"], environment):
    assert time.monotonic() < end, "jobs do not end"
    _ask(["scancel", "--signal=KILL", "--full", *everything], environment)
    _ask(["scancel", *everything], environment)
    time.sleep(0.2)


def _ask(command: list[str], environment) -> str:
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True
  )
  return done.stdout


def _free_ports(count: int) -> list[int]:
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for one in sockets:
      one.bind(("127.0.0.1", 0))
    return [one.getsockname()[1] for one in sockets]


def _main(folder: str, *command: str) -> int:
  with running(pathlib.Path(folder)) as environment:
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
  sys.exit(_main(*sys.argv[1:]))
