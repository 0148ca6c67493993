"""Worker processes give the batches that threads give, and hear no signals.

In a process of its own, as worker processes are started from a real program.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]

PROGRAM = """
import os, signal, sys
from emojax.runtime import process

if __name__ == "__main__":
  process.begin()

import numpy as np
from absl import flags
import jax
from emojax.data import pipeline
from emojax.runtime import sharding

def main():
  flags.FLAGS(sys.argv)
  clips = [np.full(10 + i, i, np.int16) for i in range(20)]
  pieces = pipeline.whole(np.array([len(clip) for clip in clips]))
  plan = pipeline.Plan(pieces.lengths_P, (20, 40), 4, 2, (0,))
  read = pipeline.Reader(clips, pieces, {})
  place = jax.sharding.NamedSharding(sharding.make_mesh(), sharding.REPLICATED)
  told = []
  def copy(batch, workers):
    if workers:  # As Slurm does: to each process of the job.
      os.killpg(0, signal.SIGTERM)
    return jax.tree.map(np.asarray, batch)

  runs = []
  for workers in (0, 2):
    with process.on_stop(told.append):
      batches = pipeline.batches(plan, read, place, 3, workers)
      runs.append([copy(next(batches), workers)])
      runs[-1] += [copy(batch, 0) for batch in batches]
  assert told == [signal.SIGTERM]
  assert len(runs[0]) == len(runs[1]) == 7
  for one, other in zip(*runs):
    jax.tree.map(np.testing.assert_array_equal, one, other)
  print("the same")

if __name__ == "__main__":
  main()
"""


def test_worker_processes(tmp_path):
  path = tmp_path / "program.py"
  path.write_text(PROGRAM)
  done = subprocess.run(
    [sys.executable, path],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
    start_new_session=True,
  )
  assert (done.stdout, done.stderr) == ("the same\n", "")
