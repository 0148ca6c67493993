"""A config, its trainer and a run's folder: `launch.py` and `emojax train`."""

import contextlib
from collections.abc import Iterator

from absl import flags
from ml_collections import config_flags

from emojax import cli
from emojax.errors import UserError
from emojax.runtime import hosts

_CONFIG = config_flags.DEFINE_config_file("config")
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed", False, "One of several processes that train together."
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "host:port of the first process, outside of a cluster."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Of this process, from 0, outside of a cluster."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "Of all processes, outside of a cluster."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")


def main(argv: list[str], usage: str) -> None:
  """Trains what the command line says; `usage` is printed for `--help`."""
  config = cli.parse_config(argv, _CONFIG, usage)
  file = config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = _WORKDIR.value or cli.default_workdir(file)
  trainer = cli.trainer(config)
  with _joined():
    cli.require_devices()
    trainer.train(config, workdir)


@contextlib.contextmanager
def _joined() -> Iterator[None]:
  """With the other processes of the job, if there are any."""
  named = _COORDINATOR.value, _PROCESS_ID.value, _NUM_PROCESSES.value
  if not _DISTRIBUTED.value:
    if named != (None, None, None):
      raise UserError(
        "--coordinator, --process_id and --num_processes are of --distributed: "
        "add it"
      )
    yield
    return
  hosts.begin(*named)
  with hosts.explained():
    yield
