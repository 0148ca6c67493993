"""The weights of another run that a training starts from: whose they are.

A run that `config.pretrained_weights` names may have been trained on whoever is
tested here. Its own config says so: its clips are split once more. And it may
be trained anew while a study that starts from it has not finished.

U clips.
"""

import hashlib
import itertools
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import ml_collections
import numpy as np

from emojax import runs
from emojax import summary as summaries
from emojax.corpora import records
from emojax.data import clips
from emojax.data.clips import Clips
from emojax.errors import UserError
from emojax.reports import speech as reports
from emojax.systems import stored

_LOG = logging.getLogger(__name__)

# The parts here in which nobody of a part of the other run may be. Both may
# validate on the same people, as runs of one split do.
_APART_FROM = {"train": ("test", "validation"), "validation": ("test",)}
_ANY = "manifest"  # The corpus whose name says nothing of what it holds.


# Of the config of a study that starts from another one: what was there then.
_DIGEST = "pretrained_digest"


def settle(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> ml_collections.ConfigDict:
  """Notes in a study's config which weights it starts from, see `runs.settle`.

  Raises:
    UserError: there are none.
  """
  if not config.pretrained_weights:
    return config
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config[_DIGEST] = ""
  return runs.settle(workdir, config, _DIGEST, lambda: _digest(config))


def _digest(config) -> str:
  """SHA-256 of the weights that are there now."""
  folder = stored.find(config.pretrained_weights)
  with (folder / stored.FILES[1]).open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class _Taught(NamedTuple):
  """A finished run: its clips, and who has taught the weights it has kept."""

  run: str
  data: Clips
  setting: str

  @property
  def parts(self) -> Mapping[str, np.ndarray]:
    """The rows of each part."""
    return self.data.splits[self.setting].parts


def check(
  config: ml_collections.ConfigDict, data: Clips, min_samples: int
) -> str:
  """Refuses first weights that know someone who is tested here.

  Also where the run that is named started from the weights of another one.

  Args:
    config: of a speech study.
    data: its clips.
    min_samples: see `clips.read`.

  Returns:
    What a report has to say of it; '' where no run is named.

  Raises:
    UserError: a speaker of a test part has trained the weights or chosen their
      epoch, or one of a validation part has trained them; or they are others
      than those with which the study began.
  """
  if not config.pretrained_weights:
    return ""
  began = config.get(_DIGEST, "")
  if began and began != _digest(config):
    raise UserError(
      f"config.pretrained_weights = {config.pretrained_weights!r}: was trained "
      "again since this study began with it; choose another --workdir, to "
      "begin anew"
    )
  tested = set()
  for split in data.splits.values():
    tested |= _people(data, split.parts["test"])
  is_known = True
  for taught in _teachers(config, min_samples):
    if taught is None:
      is_known = False
      continue
    called = _called(data, taught.data)
    _check_apart(data, called, taught)
    is_known &= tested <= called.keys()
  name = pathlib.PurePath(config.pretrained_weights).name
  began = f"Training began with the weights of `{name}`"
  if not is_known:
    return f"{began}; whether anybody who is tested here taught it is unknown. "
  if any(split.official for split in data.splits.values()):
    return f"{began}, which no recording has taught that is tested here. "
  return f"{began}, which nobody has taught who is tested here. "


def _teachers(config, min_samples: int) -> Iterator[_Taught | None]:
  """The run that a config starts from, and the one that it did, and so on.

  None, and no more, where that can not be known.
  """
  name, seen = config.pretrained_weights, set()
  while name and name not in seen:
    seen.add(name)
    run = pathlib.Path(name).expanduser()
    try:
      summary, theirs = summaries.read(run), stored.read_config(run)
      taught = _read(run, summary, theirs, config.data.path, min_samples)
    except UserError as error:
      _LOG.warning(
        "config.pretrained_weights: whom %s was trained on is not known (%s)",
        *(name, error),
      )
      yield None
      return
    yield taught
    name = theirs.get("pretrained_weights", "")


def _read(run, summary, theirs, path: str, min_samples: int) -> _Taught:
  """Finds again who has trained a run; where its data are, or ours at `path`.

  Raises:
    UserError: these are not the clips that it was tested on, or none are there.
  """
  if summary.study != "speech":
    raise UserError(f"{run}: no run of the speech study")
  for one in dict.fromkeys((theirs.data.path, path)):
    theirs.data.path = theirs.data.paths = one
    try:
      data, _ = clips.read(theirs, min_samples)
    except UserError as error:
      _LOG.info("%s: %s", run, error)
      continue
    rows = {name: of.parts["test"] for name, of in data.splits.items()}
    if summary.test_digest == data.digest_of(rows):
      return _Taught(str(run), data, reports.best(summary)["setting"])
  raise UserError(f"{run}: the clips that it was tested on are not there")


def _check_apart(data: Clips, called, taught: _Taught) -> None:
  for part, apart_from in _APART_FROM.items():
    rows = taught.parts[part]
    teachers, heard = _people(taught.data, rows), taught.data.digest_U[rows]
    for (setting, split), ours in itertools.product(
      data.splits.items(), apart_from
    ):
      own, what = split.parts[ours], "speaker"
      here = sorted(_people(data, own))
      met = [who for who in here if called.get(who, set()) & teachers]
      if split.official:  # Its authors have speakers in two parts.
        what = "recording"
        met = data.name_U[own][np.isin(data.digest_U[own], heard)].tolist()
      if met:
        raise UserError(
          f"config.pretrained_weights: {what} {met[0]}, of the {ours} part of "
          f"{setting!r}, is in the {part} part of {taught.run} "
          f"({taught.setting!r}), {len(met)} such in all; give both runs the "
          "same config.split, with one setting, or leave "
          "config.pretrained_weights empty"
        )


def _called(ours: Clips, theirs: Clips) -> dict[str, set[str]]:
  """What speakers of ours are called there, of whom that is known.

  Someone of the same corpus has the same name, or is not there; someone of
  another one is known by a recording of theirs alone that is in both.
  """
  shared_U = np.isin(ours.digest_U, theirs.digest_U)
  same = set(ours.corpus_U.tolist()) & set(theirs.corpus_U.tolist())
  same -= {_ANY} - set(ours.corpus_U[shared_U].tolist())
  heard = dict(zip(theirs.digest_U, theirs.speaker_U.tolist(), strict=True))
  there = {bare: who for _, of_one in _names(theirs) for bare, who in of_one}
  called: dict[str, set[str]] = {}
  for digest, of_one in _names(ours):
    for bare, who in of_one:
      if bare[0] in same:
        called.setdefault(who, set()).update({there.get(bare)} - {None})
    alone = records.people(heard.get(digest, ""))
    if digest in heard and len(alone) == len(of_one) == 1:
      called.setdefault(of_one[0][1], set()).update(alone)
  return called


def _people(data: Clips, rows: np.ndarray) -> set[str]:
  """Each of those who speak on some clips."""
  names = set(data.speaker_U[rows].tolist())
  return {who for one in names for who in records.people(one)}


def _names(data: Clips) -> Iterator[tuple[str, list]]:
  """The digest of each clip, and who speaks: corpus and bare name, full name.

  Of several corpora speakers are named after these, too.
  """
  of_clips = data.digest_U, data.corpus_U.tolist(), data.speaker_U.tolist()
  for digest, corpus, speaker in zip(*of_clips, strict=True):
    named = [(w.removeprefix(f"{corpus}:"), w) for w in records.people(speaker)]
    yield digest, [((corpus, bare), who) for bare, who in named]
