"""Features of a corpus, extracted once and kept.

Acoustic functionals: openSMILE (Eyben et al. 2010) with `ComParE_2016`
(Schuller et al. 2016, 6,373 values) or `eGeMAPSv02` (Eyben et al. 2016, 88
values). The lexical ones are in `text_features`.
"""

import dataclasses
import functools
import multiprocessing
import os
import pathlib
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures

import numpy as np
import opensmile

from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.data import text_features as lexical
from emojax.data import vector_cache
from emojax.data.table import FeatureTable
from emojax.errors import UserError
from emojax.runtime.progress import progress

SAMPLE_RATE = 16_000
AUDIO_FEATURES = {"ComParE_2016": 6373, "eGeMAPSv02": 88}


def extract(
  utterances: Sequence[Utterance],
  audio_features: str,
  text_features: str,
  cache_dir: str | os.PathLike,
  num_workers: int,
  max_skipped: int,
  text_encoder: str = "",
  text_revision: str = "",
) -> tuple[FeatureTable, list[io.UnreadableAudio]]:
  """Extracts the features of all utterances, in their order.

  They are kept in `cache_dir` under the content of the recording or the text
  and the extractor's settings, each as soon as it is there: an interrupted
  extraction goes on where it stopped. A recording that cannot be used is named
  in a warning and skipped.

  Args:
    utterances: records of a corpus.
    audio_features: a name in `AUDIO_FEATURES`, or 'none'.
    text_features: a name in `text_features.NAMES`, or 'none'.
    cache_dir: folder of the cache; made if it is missing.
    num_workers: number of processes for openSMILE.
    max_skipped: how many utterances may be skipped.
    text_encoder: the pretrained encoder of `text_features`, a folder or a hub
      id.
    text_revision: of the hub's repository; '' is its main branch.

  Returns:
    The table of the utterances kept, and why each other one was skipped.

  Raises:
    UserError: an unknown name, more unusable recordings than `max_skipped`,
      no transcripts for text features, no such encoder, a worker that was
      killed, a full disk.
  """
  _check(audio_features, "audio_features", AUDIO_FEATURES)
  _check(text_features, "text_features", lexical.NAMES)
  if audio_features == text_features == "none":
    raise UserError("audio_features and text_features are 'none'; choose one")
  if num_workers < 1:
    raise UserError(f"num_workers = {num_workers}: at least one must work")
  features, skips = {}, recordings.Skips(max_skipped, len(utterances))
  if audio_features != "none":
    folder = pathlib.Path(cache_dir, _settings_name(audio_features))
    features["audio"], kept = _audio_matrix(
      utterances, audio_features, folder, num_workers, skips
    )
    utterances = [utterances[row] for row in kept]
    if not utterances:
      raise UserError(f"no recording is usable; first: {skips.found[0]}")
  if text_features != "none":
    texts = [utterance.text for utterance in utterances]
    if not any(texts):
      raise UserError(
        f"text_features = {text_features!r}: no utterance has a transcript; "
        "add them, or choose 'none'"
      )
    features["text"] = lexical.extract(
      texts, text_features, text_encoder, text_revision, cache_dir
    )
  table = dataclasses.replace(annotations(utterances), features=features)
  return table, skips.found


def annotations(utterances: Sequence[Utterance]) -> FeatureTable:
  """Gives the table of U utterances without features: to split or to count."""

  def column(name: str, kind: type) -> np.ndarray:
    return np.array([getattr(u, name) for u in utterances], kind)

  return FeatureTable(
    features={},
    label=column("label", str),
    speaker=column("speaker", str),
    dialogue=column("dialogue", str),
    turn=column("turn", np.int64),
    session=column("session", str),
  )


def functionals(samples: np.ndarray, audio_features: str) -> np.ndarray:
  """Runs openSMILE over one recording.

  Args:
    samples: float32 [S] at `SAMPLE_RATE`.
    audio_features: a name in `AUDIO_FEATURES`.

  Returns:
    float32 [D]; NaN where the recording is too short for a value.
  """
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Segment too short", UserWarning)
    table = _smile(audio_features).process_signal(samples, SAMPLE_RATE)
  return table.to_numpy(np.float32)[0]


def _check(name: str, field: str, known: Iterable[str]) -> None:
  if name != "none" and name not in known:
    raise UserError(f"{field} = {name!r}: choose {', '.join(known)} or none")


def _audio_matrix(
  utterances: Sequence[Utterance],
  audio_features: str,
  folder: pathlib.Path,
  num_workers: int,
  skips: recordings.Skips,
) -> tuple[np.ndarray, list[int]]:
  """Fills float32 [U, D]; gives it without the unusable rows, and the rest."""
  paths = [utterance.path for utterance in utterances]
  unusable = set()
  rows_of: dict[str, list[int]] = {}  # copies of a recording share a digest
  for row, digest in enumerate(recordings.digests(paths)):
    if isinstance(digest, io.UnreadableAudio):
      unusable.add(row)
      skips.add(digest)
    else:
      rows_of.setdefault(digest, []).append(row)

  matrix = np.empty((len(paths), AUDIO_FEATURES[audio_features]), np.float32)
  pending = {}
  for digest, rows in rows_of.items():
    stored = vector_cache.place(folder, digest)
    if not _restore(stored, matrix, rows):
      pending[stored] = rows
  if pending:
    vector_cache.make(folder)
  jobs = {stored: paths[rows[0]] for stored, rows in pending.items()}
  for stored, why in _run(jobs, audio_features, num_workers):
    if why:
      unusable.update(pending[stored])
      for row in pending[stored]:
        skips.add(io.UnreadableAudio(paths[row], why))
    elif not _restore(stored, matrix, pending[stored]):
      raise UserError(f"{stored}: damaged as soon as written; check the disk")
  kept = [row for row in range(len(paths)) if row not in unusable]
  return (matrix[kept] if unusable else matrix), kept


def _settings_name(audio_features: str) -> str:
  """Names the folder of the cache after everything that changes a value."""
  version = opensmile.__version__
  return f"{audio_features}-opensmile-{version}-{SAMPLE_RATE}Hz-mono-soxrHQ"


def _restore(stored: pathlib.Path, matrix: np.ndarray, rows: list[int]) -> bool:
  """Copies a kept vector into its rows; false if it is not there whole."""
  vector = vector_cache.read(stored)
  if vector is None or vector.shape != matrix.shape[1:]:
    return False
  matrix[rows] = vector
  return True


def _run(
  jobs: Mapping[pathlib.Path, str], audio_features: str, num_workers: int
) -> Iterator[tuple[pathlib.Path, str]]:
  """Has the workers fill the cache; yields what is done, and why if it is not.

  Args:
    jobs: the recording for each file of the cache that is to be written.
    audio_features: a name in `AUDIO_FEATURES`.
    num_workers: number of processes.
  """
  if not jobs:
    return
  # JAX's threads are alive in this process: a fork could inherit their locks.
  pool = futures.ProcessPoolExecutor(
    min(num_workers, len(jobs)),
    multiprocessing.get_context("spawn"),
    _start_worker,
  )
  try:
    running = _submit(pool, jobs, audio_features)
    done = futures.as_completed(running)
    for future in progress(done, len(running), f"openSMILE {audio_features}"):
      yield running[future], future.result()
  except futures.process.BrokenProcessPool as error:
    # CPython 3.11 forgets a worker that was starting when the other one died,
    # and would wait for it for ever.
    for worker in multiprocessing.active_children():
      worker.terminate()
    raise UserError(
      "a worker of the feature extraction was killed, perhaps for want of "
      "memory; run the same command again, with fewer num_workers: it goes on "
      "where it stopped"
    ) from error
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def _submit(
  pool: futures.ProcessPoolExecutor,
  jobs: Mapping[pathlib.Path, str],
  audio_features: str,
) -> dict[futures.Future, pathlib.Path]:
  try:
    return {
      pool.submit(_work, path, audio_features, stored): stored
      for stored, path in jobs.items()
    }
  except (OSError, ValueError) as error:
    # A worker that dies meanwhile closes the pool's pipes under `submit`, and
    # CPython 3.11 finds one closed, or its number taken by another.
    raise futures.process.BrokenProcessPool(str(error)) from error


def _start_worker() -> None:
  """Makes a worker end at once on Ctrl-C, and with its parent."""
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
  # A parent that is killed can not tell its workers; they would wait for ever.
  multiprocessing.parent_process().join()
  os._exit(1)


def _work(path: str, audio_features: str, stored: pathlib.Path) -> str:
  """Extracts one recording into the cache; returns why not, or ''."""
  try:
    samples = io.read(path, SAMPLE_RATE)
  except io.UnreadableAudio as error:
    return error.why
  vector = functionals(samples, audio_features)
  finite = int(np.isfinite(vector).sum())
  if finite < len(vector):
    return (
      f"openSMILE has {finite} of {len(vector)} values for "
      f"{len(samples) / SAMPLE_RATE:.2f} s"
    )
  vector_cache.write(stored, vector)
  return ""


@functools.cache
def _smile(audio_features: str) -> opensmile.Smile:
  return opensmile.Smile(
    opensmile.FeatureSet[audio_features], opensmile.FeatureLevel.Functionals
  )
