"""What recordings hold, as names that are equal for the same sound; kept.

Of each a `content`: the bytes of its fingerprint as float32, which `Vectors`
keeps.
"""

import functools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.data.store import Vectors
from emojax.runtime.progress import progress

SAMPLE_RATE = 16_000
VERSION = 2  # Of what is read of a recording.


class Extracted(NamedTuple):
  """The features of a recording, its content, and what is odd about it."""

  vector: np.ndarray
  content: np.ndarray
  notes: list[str]


def of(samples: np.ndarray) -> np.ndarray:
  """The content of int16 [S] at `SAMPLE_RATE`."""
  fingerprint = bytes.fromhex(io.fingerprint(samples))
  return np.frombuffer(fingerprint, np.uint8).astype(np.float32)


def kept(cache_dir: str | os.PathLike) -> Vectors:
  """Where the content of each recording is kept."""
  return Vectors(
    pathlib.Path(cache_dir, f"fingerprints-{VERSION}-{SAMPLE_RATE}Hz")
  )


def ahead(utterances: Iterable[Utterance]):
  """Decodes recordings in order, some ahead of who takes them.

  Yields:
    Of each the `io.Recording` in int16 [S], or why it cannot be used.
  """
  decode = functools.partial(recordings.decode, sample_rate=SAMPLE_RATE)
  return recordings.ahead(decode, utterances, 2 * (os.cpu_count() or 1))


def fingerprints(
  utterances: Sequence[Utterance],
  digests: Sequence[str],
  cache_dir: str | os.PathLike,
) -> list[str]:
  """`io.fingerprint` of each utterance, '' of what cannot be read.

  They are kept, but for a failure: another libsndfile may read that one, or the
  disk the next time.
  """
  vectors = kept(cache_dir)
  of_digest = {digest: vectors.get(digest) for digest in digests if digest}
  jobs = {
    digest: one
    for digest, one in zip(digests, utterances, strict=True)
    if digest and of_digest[digest] is None
  }
  if jobs:
    vectors.make()
  decoded = zip(jobs, ahead(jobs.values()), strict=True)
  notes = []
  for digest, found in progress(decoded, len(jobs), "read"):
    if not isinstance(found, io.UnreadableAudio):
      of_digest[digest] = of(found.samples)
      vectors.put(digest, of_digest[digest])
      notes += [(jobs[digest].path, note) for note in found.notes]
  recordings.warn(notes)
  texts = {
    digest: content.astype(np.uint8).tobytes().hex()
    for digest, content in of_digest.items()
    if content is not None
  }
  return [texts.get(digest, "") for digest in digests]
