"""Who is on both sides of other people's folds, by their files alone."""

import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emojax import markdown
from emojax.corpora import delimited, fold_files, records, speech
from emojax.corpora.fold_files import Clip
from emojax.data import split_audit
from emojax.errors import UserError, one_line

AUDITED = "no speaker and no recording is in two parts"

_CALLED = {"train": "training"}  # Parts, as one speaks of them.


class Fold(NamedTuple):
  """A fold, a table of who is in which part, and what it says of two parts."""

  name: str  # With that of the corpus, if there is one.
  table: str
  leaks: list[str]
  unknown: str = ""  # Why nobody knows who speaks.


def audit(path: str | os.PathLike) -> Iterator[Fold]:
  """Yields what is in each fold of all files at a path; see `fold_files`.

  Speakers are those that the files name, else those that the names of the clips
  say by the rule of their corpus (`speech.speaker_rules`): all of them have to
  follow the same one. Recordings are known by their paths.

  Raises:
    UserError: what `fold_files.read` finds wrong; speakers of some clips only.
  """
  for corpus, folds in fold_files.read(path).items():
    clips = list(itertools.chain.from_iterable(folds.values()))
    speakers = _speakers(clips)
    why = "" if speakers else _unknown(clips, corpus)
    for fold, found in folds.items():
      name = f"{corpus}, {fold}" if corpus else fold
      yield _audit(one_line(name), found, speakers, why)


def summarise(path: str | os.PathLike, folds: Sequence[Fold]) -> str:
  """What holds of all folds.

  Raises:
    UserError: a speaker or a recording is in two parts, or who speaks is not
      known.
  """
  leaks = [f"{one.name}: {leak}" for one in folds for leak in one.leaks]
  unknown = [one.unknown for one in folds if one.unknown]
  if leaks:
    count = sum(bool(one.leaks) for one in folds)
    more = f"; and {len(leaks) - 1} more such" if len(leaks) > 1 else ""
    if unknown:
      more += f"; of {len(unknown)} folds it is not known who speaks"
    raise UserError(
      f"{path}: {count} of {len(folds)} folds leak: {leaks[0]}{more}; make "
      "parts of whole speakers"
    )
  if unknown:
    more = len(set(unknown)) - 1
    raise UserError(
      f"{path}: {unknown[0]}" + (f"; and {more} more such" if more else "")
    )
  return AUDITED


def _audit(
  name: str, clips: Sequence[Clip], speakers: dict[str, str], why: str
) -> Fold:
  paths: dict[str, set[str]] = {}
  for one in clips:
    paths.setdefault(one.part, set()).add(one.path)
  parts = [part for part in records.PARTS if part in paths]
  who = {
    part: {speakers[path] for path in paths[part]} if speakers else set()
    for part in parts
  }
  table = [["part", "utterances", "speakers"]]
  for part in parts:
    people = (
      one_line(split_audit.people(who[part])) if speakers else markdown.NOTHING
    )
    table.append([part, str(len(paths[part])), people])
  leaks = []
  for what, found in (("speakers", who), ("recordings", paths)):
    for one, other in itertools.combinations(parts, 2):
      if shared := sorted(found[one] & found[other]):
        first = (
          f", such as {delimited.shown(shared[0])}"
          if what == "recordings"
          else ""
        )
        leaks.append(
          f"{len(shared)} of {len(found[other])} {other} {what} are in the "
          f"{_CALLED.get(one, one)} part, too{first}"
        )
  return Fold(name, markdown.table(table, len(table[0])), leaks, why)


def _speakers(clips: Sequence[Clip]) -> dict[str, str]:
  """Who speaks in each path; nobody is known where no rule fits all."""
  named = {one.path: one.speaker for one in clips}
  if all(named.values()):
    return named
  if any(named.values()):
    nobody = next(one for one in clips if not one.speaker)
    raise UserError(f"{nobody.where}: no speaker, and other clips have one")
  for speaker_of in speech.speaker_rules().values():
    found = {path: speaker_of(pathlib.PurePosixPath(path)) for path in named}
    if all(found.values()):
      return found
  return {}


def _unknown(clips: Sequence[Clip], corpus: str) -> str:
  """Which name says nothing: of the rule that most follow, if there is one."""
  paths = [pathlib.PurePosixPath(one.path) for one in clips]
  rules = speech.speaker_rules()
  strange = {
    name: [path for path in paths if not speaker_of(path)]
    for name, speaker_of in rules.items()
  }
  best = min(strange, key=lambda name: len(strange[name]))
  name, count = delimited.shown(strange[best][0].name), len(strange[best])
  why = f"file names such as {name} follow no rule of {', '.join(rules)}"
  if count < len(paths):
    why = f"{count} of {len(paths)} file names are not as in {best}: {name}"
  return (
    f"{f'{corpus}: ' if corpus else ''}who speaks is not known: {why}; give a "
    "CSV file with the columns path,part,fold,speaker"
  )
