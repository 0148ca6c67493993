"""Splits that others have made, so that results can be compared.

U utterances, all corpora together. Each setting is a name and who learns, who
is tested and who validates, as masks [U]; see `splits.make`.
"""

import itertools
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from emojax import spelling
from emojax.audio import io
from emojax.corpora import fold_files
from emojax.errors import UserError
from emojax.runtime import walk

_LOG = logging.getLogger(__name__)

# The test actors of RAVDESS, fold by fold, as in `data/ravdess/fold_K` of
# https://github.com/emo-box/EmoBox.
_EMOBOX = {
  "fold 1": ("01", "11", "20", "21"),
  "fold 2": ("04", "10", "12", "14"),
  "fold 3": ("08", "09", "19", "23"),
  "fold 4": ("03", "05", "07", "24"),
  "fold 5": ("02", "15", "16", "18"),
  "fold 6": ("06", "13", "17", "22"),
}


def emobox(
  corpus_U: np.ndarray, speaker_U: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray, None]]:
  """Tests four actors of RAVDESS in each of six folds, as EmoBox does.

  Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition
  Toolkit and Benchmark", Interspeech 2024. Its folds have no validation part,
  and its code draws one from the training clips, so that the same actors train
  and validate. Here nobody is named for it (None), and `splits.make` takes a
  fifth of the other 20 actors: what is tested is the same, but four actors
  fewer teach.

  Raises:
    UserError: another corpus, a speaker that is no actor of RAVDESS, a fold of
      which no actor is there.
  """
  corpora = sorted(set(corpus_U.tolist()))
  if corpora != ["ravdess"]:
    raise UserError(
      "config.split.method = 'emobox': these folds are of ravdess alone, and "
      f"the data are {', '.join(corpora) or 'of no corpus'}; name your own "
      "with config.split.method='folds' and config.split.folds=FILE.csv"
    )
  known = set(speaker_U.tolist())
  actors = sorted(actor for fold in _EMOBOX.values() for actor in fold)
  if unknown := sorted(known.difference(actors)):
    raise UserError(
      "config.split.method = 'emobox': the folds name the actors 01 to 24 of "
      f"RAVDESS; no {', '.join(unknown[:3])}"
    )
  missing = [actor for actor in actors if actor not in known]
  for fold, test in _EMOBOX.items():
    if known.isdisjoint(test):
      raise UserError(
        f"config.split.method = 'emobox': {fold} tests the actors "
        f"{', '.join(test)}, and none of them is there; get all of RAVDESS, or "
        "choose another config.split.method"
      )
  if missing:
    _LOG.warning(
      "config.split.method = 'emobox': %d of 24 actors are not there (%s): "
      "figures can not be compared with published ones",
      *(len(missing), ", ".join(missing)),
    )
  for fold, test in _EMOBOX.items():
    test_U = np.isin(speaker_U, test)
    yield fold, ~test_U, test_U, None


def of_files(
  path: str, path_U: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]:
  """Tests each fold of a fold file in turn; see `fold_files`.

  A clip of a file is known by its path: that from the file's folder, if there
  is one, else the one of the data that has the same name and whose folders
  agree farthest, so that files of others fit a copy that lies elsewhere, also
  as FLAC where they have WAV. Clips that a fold does not name are in no part of
  it.

  Args:
    path: of a table, or of a folder of EmoBox.
    path_U: of the recordings of the data; '' or None where they are not known.

  Raises:
    UserError: whatever is wrong with the file; one of several corpora; a clip
      that is not there, or that several of the data may be.
  """
  if not path:
    raise UserError(
      "config.split.folds is empty, and config.split.method = 'folds' reads "
      f"it: name {fold_files.LAYOUT}"
    )
  if path_U is None or not all(path_U):
    raise UserError(
      "config.split.method = 'folds': the data do not say of which file each "
      "utterance is, as feature tables do not; choose another one"
    )
  found = fold_files.read(path)
  if len(found) > 1:
    raise UserError(
      f"{path}: has folds of {', '.join(found)}; name the folder of one"
    )
  (folds,) = found.values()
  clips = {c.path: c for c in itertools.chain.from_iterable(folds.values())}
  named = _Paths(np.unique(path_U), path).of(list(clips.values()))
  settings = []
  for fold, of_fold in folds.items():
    parts = {
      part: np.isin(
        path_U, [named.get(c.path) for c in of_fold if c.part == part]
      )
      for part in dict.fromkeys(one.part for one in of_fold)
    }
    chosen = parts["train"], parts["test"], parts.get("validation")
    settings.append((fold, *chosen))
  _warn_left_out(settings, path_U, path)
  yield from settings


def _warn_left_out(settings, path_U: np.ndarray, path: str) -> None:
  """Says how many clips of the data are in no part, fold by fold."""
  counts, first = [], ""
  for fold, *masks in settings:
    is_named_U = np.any([mask for mask in masks if mask is not None], axis=0)
    if not is_named_U.all():
      counts.append(f"{np.sum(~is_named_U)} in {fold}")
      first = first or path_U[~is_named_U][0]
  if counts:
    _LOG.warning(
      "%s: clips of the data that a fold does not name are left out of it: %s; "
      "the first: %s",
      *(path, ", ".join(counts), first),
    )


class _Paths:
  """Recordings of the data by the paths that a fold file has for them."""

  def __init__(self, paths: np.ndarray, file: str):
    """Takes the paths of the recordings, each once, and that of the file."""
    self._folder = pathlib.Path(file).expanduser()
    if not self._folder.is_dir():
      self._folder = self._folder.parent
    self._file = file
    self._real = {os.path.realpath(one): one for one in paths.tolist()}
    self._by_name: dict[str, list[str]] = {}
    for one in paths.tolist():
      name = spelling.key(pathlib.PurePath(one).stem)
      self._by_name.setdefault(name, []).append(one)

  def of(self, clips: Sequence[fold_files.Clip]) -> dict[str, str]:
    """The recordings of clips that the data have, by the file's paths.

    Raises:
      UserError: a clip may be several recordings, or is not on disk.
    """
    exact = {clip.path: self._exact(clip) for clip in clips}
    named = {path: one for path, one in exact.items() if one}
    taken = set(named.values())
    # Two speakers may have a clip of one name, and the data leave out one.
    best: dict[str, tuple[tuple, fold_files.Clip]] = {}
    others = []
    for clip in clips:
      if clip.path in named:
        continue
      found, agreement = self._by_folders(clip)
      known, other = best.get(found, ((), None))
      if found and other and agreement == known:
        raise UserError(
          f"{clip.where}: {clip.path} and {other.path} may both be {found}; "
          "write the paths from the folder of the corpus"
        )
      if found and found not in taken and agreement > known:
        best[found] = agreement, clip
        clip = other
      if clip:
        others.append(clip)
    self._check(others)
    return named | {clip.path: found for found, (_, clip) in best.items()}

  def _exact(self, clip: fold_files.Clip) -> str | None:
    """The recording at the path from the file's folder."""
    found = walk.locate(self._folder / os.path.expanduser(clip.path))
    return found and self._real.get(os.path.realpath(found))

  def _by_folders(self, clip: fold_files.Clip) -> tuple[str, tuple]:
    """The recording of that name with the most folders, and how many; or ''."""
    wanted = pathlib.PurePosixPath(clip.path)
    alike = self._by_name.get(spelling.key(wanted.stem), ())
    agree = {one: _agreement(one, wanted) for one in alike}
    most = max(agree.values(), default=())
    best = [one for one, agreement in agree.items() if agreement == most]
    if len(best) > 1:
      raise UserError(
        f"{clip.where}: {clip.path} may be {best[0]} or {best[1]}; write its "
        "path from the folder of the corpus"
      )
    return (best[0], most) if best else ("", ())

  def _check(self, others: Sequence[fold_files.Clip]) -> None:
    """Warns of what the study leaves out; refuses what is not on disk."""
    if not others:
      return
    tops = {pathlib.Path(one).parent.parent for one in self._real.values()}
    there = {
      spelling.key(os.path.splitext(name)[0])
      for top in tops
      for folder in walk.folders(top, 1)
      for name in os.listdir(folder)
      if os.path.splitext(name)[1].lower() in io.SUFFIXES
    }
    missing = [
      one
      for one in others
      if spelling.key(pathlib.PurePosixPath(one.path).stem) not in there
    ]
    if missing:
      raise UserError(
        f"{missing[0].where}: no such recording among the data: "
        f"{missing[0].path} ({len(missing)} such in all); give the data their "
        "files, or remove those rows"
      )
    _LOG.warning(
      "%s: recordings that the data leave out, such as those of other labels, "
      "are in no part: %d; the first: %s",
      *(self._file, len(others), others[0].path),
    )


def _agreement(path: str, wanted: pathlib.PurePosixPath) -> tuple:
  """How many folders of two paths agree, from the last; and their types."""
  one = pathlib.PurePath(path)
  pairs = zip(
    reversed(one.parts[:-1]), reversed(wanted.parts[:-1]), strict=False
  )
  same = itertools.takewhile(
    lambda pair: spelling.key(pair[0]) == spelling.key(pair[1]), pairs
  )
  return len(list(same)), one.suffix.lower() == wanted.suffix.lower()
