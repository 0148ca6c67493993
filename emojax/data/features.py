"""Features of a corpus, extracted once and kept.

Acoustic functionals: openSMILE (Eyben et al. 2010) with `ComParE_2016`
(Schuller et al. 2016, 6,373 values) or `eGeMAPSv02` (Eyben et al. 2016, 88
values). The lexical ones are in `text_features`.
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import ml_collections
import numpy as np
import opensmile

from emojax import checks
from emojax.audio import io
from emojax.corpora import labels, recordings
from emojax.corpora.records import Utterance
from emojax.data import duplicates
from emojax.data import text_features as lexical
from emojax.data.store import Vectors
from emojax.data.table import FeatureTable
from emojax.errors import UserError
from emojax.runtime import process
from emojax.runtime.progress import progress

SAMPLE_RATE = 16_000
_VERSION = 2  # Of what is read of a recording.
AUDIO_FEATURES = {"ComParE_2016": 6373, "eGeMAPSv02": 88}
NOTHING = "none"


class Extracted(NamedTuple):
  """The features of a recording, its `_content`, and what is odd about it."""

  vector: np.ndarray
  content: np.ndarray
  notes: list[str]


def extract(
  utterances: Sequence[Utterance],
  corpora: Sequence[str],
  data: ml_collections.ConfigDict,
  cache_dir: str | os.PathLike,
) -> FeatureTable:
  """Extracts the features of all utterances that can be used, in their order.

  They are kept in `cache_dir` under the content of the recording or the text
  and the extractor's settings, each as soon as it is there: an interrupted
  extraction goes on where it stopped. A recording that cannot be used is named
  in a warning and skipped; without audio features none is read.

  Args:
    utterances: records, [U].
    corpora: the name of each one's corpus, [U].
    data: a `config.data`.
    cache_dir: folder of the cache; made if it is missing.

  Raises:
    UserError: an unknown name, more unusable recordings than
      `data.max_skipped`, no transcripts for text features, no such encoder, a
      worker that was killed, a full disk.
  """
  for field, known in (
    ("audio_features", AUDIO_FEATURES),
    ("text_features", lexical.NAMES),
  ):
    checks.choice({"data": data}, f"data.{field}", (*known, NOTHING))
  if data.audio_features == data.text_features == NOTHING:
    raise UserError(
      "config.data.audio_features and config.data.text_features are both "
      f"{NOTHING!r}: choose one"
    )
  digests = recordings.digests(utterances)
  found, rows = {}, range(len(utterances))
  if data.audio_features != NOTHING:
    found["audio"], rows = _audio_matrix(utterances, digests, data, cache_dir)
  utterances, corpora, digests = (
    [values[row] for row in rows] for values in (utterances, corpora, digests)
  )
  table = annotations(utterances, corpora, data, cache_dir, digests)
  if data.text_features != NOTHING:
    texts = [utterance.text for utterance in utterances]
    if not any(texts):
      raise UserError(
        f"config.data.text_features = {data.text_features!r}: no utterance has "
        f"a transcript; add them, or choose {NOTHING!r}"
      )
    chosen = data.text_features, data.text_encoder, data.text_revision
    found["text"] = lexical.extract(texts, *chosen, cache_dir)
  return dataclasses.replace(table, features=found)


def annotations(
  utterances: Sequence[Utterance],
  corpora: Sequence[str],
  data: ml_collections.ConfigDict,
  cache_dir: str | os.PathLike,
  digests: Sequence[str | io.UnreadableAudio] | None = None,
) -> FeatureTable:
  """The table of `extract` without features: to split or to count.

  Audio that is used is decoded once, to know identical recordings by.
  """
  digests = recordings.digests(utterances) if digests is None else digests
  prints = [digest if isinstance(digest, str) else "" for digest in digests]
  if data.audio_features != NOTHING:
    prints = _fingerprints(utterances, prints, cache_dir)
    _, index = labels.parse_classes(data.labels)
    for corpus in dict.fromkeys(corpora):
      rows = [row for row, name in enumerate(corpora) if name == corpus]
      ours = [utterances[row] for row in rows]
      duplicates.check(corpus, ours, [prints[row] for row in rows], index)
  texts = {"corpus": corpora, "fingerprint": prints}
  for name in ("label", "speaker", "dialogue", "session", "path"):
    texts[name] = [getattr(utterance, name) for utterance in utterances]
  return FeatureTable(
    {},
    turn=np.array([utterance.turn for utterance in utterances], np.int64),
    **{name: np.array(values, str) for name, values in texts.items()},
  )


def _fingerprints(
  utterances: Sequence[Utterance],
  digests: Sequence[str],
  cache_dir: str | os.PathLike,
) -> list[str]:
  """`io.fingerprint` of each utterance, '' of what cannot be read; kept."""
  kept = _contents(cache_dir)
  of_digest = {digest: kept.get(digest) for digest in digests if digest}
  jobs = {
    digest: one
    for digest, one in zip(digests, utterances, strict=True)
    if digest and of_digest[digest] is None
  }
  if jobs:
    kept.make()
  depth = 2 * (os.cpu_count() or 1)
  decoded = recordings.ahead(_fingerprint, jobs.values(), depth)
  shown = progress(zip(jobs, decoded, strict=True), len(jobs), "read")
  notes = []
  for digest, (content, said) in shown:
    of_digest[digest] = content
    notes += [(jobs[digest].path, note) for note in said]
    kept.put(digest, content)
  recordings.warn(notes)
  texts = {
    digest: content.astype(np.uint8).tobytes().hex()
    for digest, content in of_digest.items()
  }
  return [texts.get(digest, "") for digest in digests]


def _contents(cache_dir: str | os.PathLike) -> Vectors:
  """Where the `_content` of each recording is kept."""
  return Vectors(
    pathlib.Path(cache_dir, f"fingerprints-{_VERSION}-{SAMPLE_RATE}Hz")
  )


def _content(samples: np.ndarray) -> np.ndarray:
  """The bytes of a fingerprint as float32, which `Vectors` keeps."""
  content = bytes.fromhex(io.fingerprint(io.to_int16(samples)))
  return np.frombuffer(content, np.uint8).astype(np.float32)


def _fingerprint(one: Utterance) -> tuple[np.ndarray, list[str]]:
  """The `_content` of a recording, empty if it cannot be read; notes."""
  try:
    samples, notes = io.decode(one.path, SAMPLE_RATE, one.start, one.end)
  except io.UnreadableAudio:
    return np.zeros(0, np.float32), []
  return _content(samples), notes


def functionals(samples: np.ndarray, audio_features: str) -> np.ndarray:
  """Runs openSMILE over a recording, float32 [S] at `SAMPLE_RATE`.

  Returns:
    float32 [D]; NaN where the recording is too short for a value.
  """
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Segment too short", UserWarning)
    table = _smile(audio_features).process_signal(samples, SAMPLE_RATE)
  return table.to_numpy(np.float32)[0]


@functools.cache
def _smile(audio_features: str) -> opensmile.Smile:
  return opensmile.Smile(
    opensmile.FeatureSet[audio_features], opensmile.FeatureLevel.Functionals
  )


def _audio_matrix(
  utterances: Sequence[Utterance],
  digests: Sequence[str | io.UnreadableAudio],
  data: ml_collections.ConfigDict,
  cache_dir: str | os.PathLike,
) -> tuple[np.ndarray, list[int]]:
  """The features float32 [u, D] of the rows that can be used, and these."""
  name = data.audio_features
  paths = [utterance.path for utterance in utterances]
  skips = recordings.Skips(data.max_skipped, len(paths))
  rows_of: dict[str, list[int]] = {}  # Copies of a recording share a digest.
  for row, digest in enumerate(digests):
    if isinstance(digest, io.UnreadableAudio):
      skips.add(digest)
    else:
      rows_of.setdefault(digest, []).append(row)

  # Everything that changes a value is in the name of the folder.
  version = f"{_VERSION}-opensmile-{opensmile.__version__}"
  kept = Vectors(
    pathlib.Path(cache_dir, f"{name}-{version}-{SAMPLE_RATE}Hz-mono-soxrHQ")
  )
  vectors = {}
  for digest in rows_of:
    vector = kept.get(digest)
    if vector is not None and len(vector) == AUDIO_FEATURES[name]:
      vectors[digest] = vector
  missing = [digest for digest in rows_of if digest not in vectors]
  jobs = {digest: utterances[rows_of[digest][0]] for digest in missing}
  contents, notes = _contents(cache_dir), []
  if jobs:
    kept.make()
    contents.make()
  # Closed, so that an error stops the workers.
  with contextlib.closing(_run(jobs, name, data.num_workers)) as done:
    for digest, found in done:
      if isinstance(found, str):
        for row in rows_of[digest]:
          skips.add(io.UnreadableAudio(paths[row], found))
      else:
        vectors[digest] = found.vector
        contents.put(digest, found.content)
        kept.put(digest, found.vector)
        notes += [(jobs[digest].path, note) for note in found.notes]
  recordings.warn(notes)
  usable = [row for row, digest in enumerate(digests) if digest in vectors]
  if not usable:
    raise UserError(f"no recording is usable; first: {skips.found[0]}")
  return np.stack([vectors[digests[row]] for row in usable]), usable


def _run(
  jobs: Mapping[str, Utterance], audio_features: str, num_workers: int
) -> Iterator[tuple[str, Extracted | str]]:
  """Yields the features of recordings, by digest, or why there are none.

  There are `num_workers` processes; 0: one a core.
  """
  if not jobs:
    return
  description = f"openSMILE {audio_features}"
  num_workers = min(num_workers or os.cpu_count() or 1, len(jobs))
  if num_workers == 1:
    for digest, one in progress(jobs.items(), len(jobs), description):
      yield digest, _work(one, audio_features)
    return
  # JAX's threads are alive in this process: a fork could inherit their locks.
  context = multiprocessing.get_context("spawn")
  pool = futures.ProcessPoolExecutor(
    num_workers, context, process.begin_worker, (True,)
  )
  try:
    try:
      with process.deaf():
        running = {
          pool.submit(_work, one, audio_features): digest
          for digest, one in jobs.items()
        }
    except (OSError, ValueError) as error:
      # A worker that dies meanwhile closes the pool's pipes under `submit`, and
      # CPython 3.11 finds one closed, or its number taken by another.
      raise futures.process.BrokenProcessPool(str(error)) from error
    done = futures.as_completed(running)
    for future in progress(done, len(running), description):
      yield running[future], future.result()
  except futures.process.BrokenProcessPool as error:
    # CPython 3.11 forgets a worker that was starting when the other one died,
    # and would wait for it for ever.
    for worker in multiprocessing.active_children():
      worker.terminate()
    raise UserError(
      "a worker of the feature extraction was killed, perhaps for want of "
      "memory; run the same command again, with fewer config.data.num_workers: "
      "it goes on where it stopped"
    ) from error
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def _work(one: Utterance, audio_features: str) -> Extracted | str:
  """Gives the features of a recording, or why it has none."""
  try:
    samples, notes = io.decode(one.path, SAMPLE_RATE, one.start, one.end)
  except io.UnreadableAudio as error:
    return error.why
  vector = functionals(samples, audio_features)
  finite = int(np.isfinite(vector).sum())
  if finite < len(vector):
    return (
      f"openSMILE has {finite} of {len(vector)} values for "
      f"{len(samples) / SAMPLE_RATE:.2f} s"
    )
  return Extracted(vector, _content(samples), notes)
