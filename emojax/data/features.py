"""Features of a corpus, extracted once and kept.

Of the sound: functionals (`functionals`), or what a pretrained encoder hears
(`speech_features`). Of the words: `text_features`.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np

from emojax import checks
from emojax.audio import io
from emojax.corpora import labels, recordings
from emojax.corpora.records import Utterance
from emojax.data import contents, duplicates, functionals
from emojax.data import text_features as lexical
from emojax.data.table import FeatureTable
from emojax.errors import UserError

NOTHING = "none"


def extract(
  utterances: Sequence[Utterance],
  corpora: Sequence[str],
  data: ml_collections.ConfigDict,
  cache_dir: str | os.PathLike,
  skips: recordings.Skips,
) -> FeatureTable:
  """Extracts the features of all utterances that can be used, in their order.

  They are kept in `cache_dir` under the content of the recording or the text
  and the extractor's settings, each as soon as it is there: an interrupted
  extraction goes on where it stopped. A recording that cannot be used is named
  in a warning and skipped. Without audio features none is decoded: files are
  only hashed, which tells them apart in the table.

  Args:
    utterances: records, [U].
    corpora: the name of each one's corpus, [U].
    data: a `config.data`.
    cache_dir: folder of the cache; made if it is missing.
    skips: takes the recordings that cannot be used.

  Raises:
    UserError: an unknown name, more unusable recordings than `skips` allows, no
      transcripts for text features, no such encoder, a
      worker that was killed, a full disk.
  """
  check(data)
  if data.audio_features == data.text_features == NOTHING:
    raise UserError(
      "config.data.audio_features and config.data.text_features are both "
      f"{NOTHING!r}: choose one"
    )
  has_audio = data.audio_features != NOTHING
  extractor = _extractor(data) if has_audio else None
  digests = recordings.digests(utterances)
  found, rows = {}, range(len(utterances))
  if has_audio:
    found["audio"], rows = _audio_matrix(
      utterances, digests, extractor, skips, cache_dir
    )
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


def check(data: ml_collections.ConfigDict) -> None:
  """Raises UserError where a `config.data` names features that there are not.

  Whether there is an encoder of that name is only known when it is looked for.
  """
  config = {"data": data}
  checks.choice(config, "data.text_features", (*lexical.NAMES, NOTHING))
  if not is_encoder(data.audio_features):
    example = "or the folder or hub id of an encoder (openai/whisper-base)"
    known = (*functionals.NAMES, NOTHING, example)
    checks.choice(config, "data.audio_features", known)


def is_encoder(name: str) -> bool:
  """Whether `audio_features` are those of an encoder: a folder or a hub id."""
  known = (*functionals.NAMES, NOTHING)
  is_path = "/" in name or pathlib.Path(name).expanduser().is_dir()
  return is_path and name not in known


def audio_commit(data: ml_collections.ConfigDict) -> str:
  """The speech encoder's commit as of today; '' where no hub is involved.

  Raises:
    UserError: no such encoder, or no such layer.
  """
  if data.corpus == "table" or not is_encoder(data.audio_features):
    return ""
  return _extractor(data).source.revision


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
    prints = contents.fingerprints(utterances, prints, cache_dir)
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


def _audio_matrix(
  utterances: Sequence[Utterance],
  digests: Sequence[str | io.UnreadableAudio],
  extractor,
  skips: recordings.Skips,
  cache_dir: str | os.PathLike,
) -> tuple[np.ndarray, list[int]]:
  """The features float32 [u, D] of the rows that can be used, and these."""
  rows_of: dict[str, list[int]] = {}  # Copies of a recording share a digest.
  for row, digest in enumerate(digests):
    if isinstance(digest, io.UnreadableAudio):
      skips.add(digest)
    else:
      rows_of.setdefault(digest, []).append(row)

  kept = extractor.kept(cache_dir)
  vectors = {}
  for digest in rows_of:
    vector = kept.get(digest)
    if vector is not None:
      vectors[digest] = extractor.take(vector)
  missing = [digest for digest in rows_of if digest not in vectors]
  jobs = {digest: utterances[rows_of[digest][0]] for digest in missing}
  known, notes = contents.kept(cache_dir), []
  if jobs:
    kept.make()
    known.make()
  # Closed, so that an error stops the workers.
  with contextlib.closing(extractor.run(jobs)) as done:
    for digest, found in done:
      if isinstance(found, str):
        for row in rows_of[digest]:
          skips.add(io.UnreadableAudio(utterances[row].path, found))
      else:
        vectors[digest] = extractor.take(found.vector)
        known.put(digest, found.content)
        kept.put(digest, found.vector)
        notes += [(jobs[digest].path, note) for note in found.notes]
  recordings.warn(notes)
  usable = [row for row, digest in enumerate(digests) if digest in vectors]
  if not usable:
    raise UserError(f"no recording is usable; first: {skips.found[0]}")
  return np.stack([vectors[digests[row]] for row in usable]), usable


def _extractor(data: ml_collections.ConfigDict):
  """A `Functionals`, or a `FrameMeans`."""
  if not is_encoder(data.audio_features):
    return functionals.Functionals(data.audio_features, data.num_workers)
  # Only here: it starts JAX, and functionals do without.
  from emojax.data import speech_features

  return speech_features.FrameMeans.find(data)
