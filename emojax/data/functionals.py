"""Acoustic functionals of recordings, by openSMILE (Eyben et al. 2010).

`ComParE_2016` (Schuller et al. 2016, 6,373 values) or `eGeMAPSv02` (Eyben et
al. 2016, 88 values).
"""

import dataclasses
import functools
import itertools
import multiprocessing
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from concurrent import futures
from importlib import metadata

import numpy as np

from emojax.audio import io
from emojax.corpora.records import Utterance
from emojax.data import contents
from emojax.data.contents import SAMPLE_RATE, Extracted
from emojax.data.store import Vectors
from emojax.errors import UserError
from emojax.runtime import process
from emojax.runtime.progress import progress

NAMES = ("ComParE_2016", "eGeMAPSv02")


@dataclasses.dataclass(frozen=True)
class Functionals:
  """One set of features, extracted by `num_workers` processes; 0: one a core.

  Attributes:
    name: one of `NAMES`.
  """

  name: str
  num_workers: int

  def kept(self, cache_dir: str | os.PathLike) -> Vectors:
    """Where they are: everything that changes a value is in its name."""
    version = f"{contents.VERSION}-opensmile-{metadata.version('opensmile')}"
    folder = f"{self.name}-{version}-{SAMPLE_RATE}Hz-mono-soxrHQ"
    return Vectors(pathlib.Path(cache_dir, folder))

  def take(self, vector: np.ndarray) -> np.ndarray:
    """What is used of what is kept: all of it."""
    return vector

  def run(
    self, jobs: Mapping[str, Utterance]
  ) -> Iterator[tuple[str, Extracted | str]]:
    """Yields the features of recordings, by digest, or why there are none.

    Raises:
      UserError: a worker was killed.
    """
    if not jobs:
      return
    description = f"openSMILE {self.name}"
    num_workers = min(self.num_workers or os.cpu_count() or 1, len(jobs))
    if num_workers == 1:
      for digest, one in progress(jobs.items(), len(jobs), description):
        yield digest, _work(one, self.name)
      return
    try:
      done = _side_by_side(jobs, self.name, num_workers)
      yield from progress(done, len(jobs), description)
    except futures.process.BrokenProcessPool as error:
      raise UserError(
        "a worker of the feature extraction was killed, perhaps for want of "
        "memory; run the same command again, with fewer "
        "config.data.num_workers: it goes on where it stopped"
      ) from error


def _side_by_side(
  jobs: Mapping[str, Utterance], name: str, num_workers: int
) -> Iterator[tuple[str, Extracted | str]]:
  """Yields what `num_workers` processes find, as it comes."""
  # JAX's threads are alive in this process: a fork could inherit their locks.
  context = multiprocessing.get_context("spawn")
  # A pool of one each: one of many starts them as jobs come, and where one dies
  # meanwhile CPython 3.11 loses count of the others.
  pools = [
    futures.ProcessPoolExecutor(1, context, process.begin_worker, (True,))
    for _ in range(num_workers)
  ]
  left, running = iter(jobs.items()), {}

  def give(pool):
    for digest, one in itertools.islice(left, 1):
      try:
        with process.deaf():
          running[pool.submit(_work, one, name)] = pool, digest
      except (OSError, ValueError) as error:
        # A worker that dies closes its pool's pipes under `submit`, which finds
        # one closed, or its number taken by another.
        raise futures.process.BrokenProcessPool(str(error)) from error

  try:
    for pool in pools * 2:  # The second waits for the first.
      give(pool)
    while running:
      done, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
      for future in done:
        pool, digest = running.pop(future)
        yield digest, future.result()
        give(pool)
  finally:
    for pool in pools:
      pool.shutdown(wait=True, cancel_futures=True)


def functionals(samples: np.ndarray, name: str) -> np.ndarray:
  """Runs openSMILE over a recording, float32 [S] at `SAMPLE_RATE`.

  Returns:
    float32 [D]; NaN where the recording is too short for a value.
  """
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Segment too short", UserWarning)
    table = _smile(name).process_signal(samples, SAMPLE_RATE)
  return table.to_numpy(np.float32)[0]


@functools.cache
def _smile(name: str):
  import opensmile  # Of features that were kept nothing is asked of it.

  return opensmile.Smile(
    opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals
  )


def _work(one: Utterance, name: str) -> Extracted | str:
  """Gives the features of a recording, or why it has none."""
  try:
    samples, notes = io.decode(one.path, SAMPLE_RATE, one.start, one.end)
  except io.UnreadableAudio as error:
    return error.why
  vector = functionals(samples, name)
  finite = int(np.isfinite(vector).sum())
  if finite < len(vector):
    return (
      f"openSMILE has {finite} of {len(vector)} values for "
      f"{len(samples) / SAMPLE_RATE:.2f} s"
    )
  return Extracted(vector, contents.of(io.to_int16(samples)), notes)
