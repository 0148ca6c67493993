"""IEMOCAP: five sessions of two actors in conversation, as it is released.

Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database",
Language Resources and Evaluation 42(4), 2008.
"""

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Iterator

from emojax import spelling
from emojax.corpora import delimited
from emojax.corpora.labels import canonical
from emojax.corpora.records import Once, Utterance, normalise_session
from emojax.errors import UserError
from emojax.runtime import walk

LAYOUT = (
  "Session1 to Session5, each with dialog/EmoEvaluation, "
  "dialog/transcriptions and sentences/wav"
)
SOURCE = "IEMOCAP is given on request: https://sail.usc.edu/iemocap"
LICENCE = "by agreement with USC: for research, not to be passed on"

_LOG = logging.getLogger(__name__)

_FOLDER = re.compile(r"session ?[0-9]")
_DIALOGUE = re.compile(r"Ses\d\d[FM]_\w+")
_LONGEST = 1000  # Characters of an evaluation.
# Session, and after the name of the dialogue who speaks: Ses01F_impro01_F000.
_NAME = re.compile(r"(Ses\d\d)[FM]_\w+_([FM])\w+")
# [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5, 2.5, 2.5]
_EVALUATION = re.compile(
  rf"\[(\d+\.?\d*) - \d+\.?\d*\]\t({_NAME.pattern})\t(\w+)\t\[.*\]"
)
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
_TRANSCRIPT = re.compile(r"(Ses\d\d[FM]_\w+) \[[\d.]+-[\d.]+\]: ?(.*)")


def read(path: str) -> Iterator[Utterance]:
  """Yields all evaluated utterances, dialogue by dialogue, turn by turn.

  `path` is the folder of Session1 to Session5, or holds `IEMOCAP_full_release`.
  A recording that is missing is yielded too: whoever reads the audio names it
  and counts it among the unreadable ones.

  Raises:
    UserError: a session without evaluations, a line that is not in their
      format, an unknown label, or no recording at all.
  """
  utterances = list(_read(path))
  if utterances and not any(os.path.exists(u.path) for u in utterances):
    raise UserError(
      f"{path}: no audio found; the first of {len(utterances)} recordings "
      f"would be {utterances[0].path}"
    )
  found = {os.path.dirname(os.path.dirname(one.path)) for one in utterances}
  known = {one.path for one in utterances}
  for folder in sorted(found):
    paths = walk.find(folder, {".wav"}).paths
    rest = [one for one in paths if str(one) not in known]
    walk.warn_unread(folder, rest, "without an evaluation")
  yield from utterances


def read_text(path: str) -> Iterator[Utterance]:
  """The same without audio, of which those that are there have a path."""
  for utterance in _read(path):
    is_there = os.path.exists(utterance.path)
    yield utterance if is_there else dataclasses.replace(utterance, path="")


def speaker_of(clip: pathlib.PurePath) -> str | None:
  """Who speaks, by the name of the file; None where it is another name.

  The dialogue's own letter says who wears the markers, not who speaks.
  """
  match = _NAME.fullmatch(clip.stem)
  return match and match[1] + match[2]


def _read(path: str) -> Iterator[Utterance]:
  root = walk.spelt(pathlib.Path(path, "IEMOCAP_full_release"))
  root = root if root.is_dir() else pathlib.Path(path)
  once, silent, count = Once(path), [], 0
  for session in sorted(root.iterdir() if root.is_dir() else ()):
    is_session = _FOLDER.fullmatch(spelling.key(session.name))
    if not is_session or not session.is_dir():
      continue
    for evaluation in _evaluations(session):
      for where, utterance in _read_dialogue(session, evaluation):
        name = pathlib.Path(utterance.path).stem
        if once.is_new(name, {"label": utterance.label}, where):
          count += 1
          silent += [] if utterance.text else [name]
          yield utterance
  once.warn()
  if silent:
    _LOG.warning(
      "%s: no transcript for %d of %d utterances; the first: %s",
      *(path, len(silent), count, silent[0]),
    )


def _evaluations(session: pathlib.Path) -> list[pathlib.Path]:
  """The files of a session, of which copies come last."""
  folder = walk.spelt(session / "dialog" / "EmoEvaluation")
  # macOS left hidden `._` files in Session5.
  found = [
    path
    for path in folder.glob("*")
    if path.suffix.lower() == ".txt" and path.name[0] != "."
  ]
  if not found:
    raise UserError(f"{folder}: no evaluations (*.txt); expected {LAYOUT}")
  return sorted(found, key=lambda p: (not _DIALOGUE.fullmatch(p.stem), p))


def _read_dialogue(
  session: pathlib.Path, evaluation: pathlib.Path
) -> list[tuple[str, Utterance]]:
  """Reads a dialogue; the turns follow the time at which they start."""
  dialogue = evaluation.stem
  folder = session / "dialog" / "transcriptions"
  transcript = walk.locate(folder / evaluation.name)
  # A copy may lack the transcripts.
  lines = _read_lines(transcript) if transcript else ()
  matches = (_TRANSCRIPT.fullmatch(line.strip()) for line in lines)
  texts = {spelling.key(m[1]): m[2].strip() for m in matches if m}
  wav = walk.spelt(session / "sentences" / "wav" / dialogue)
  turns = []
  for number, line in enumerate(_read_lines(evaluation), 1):
    line = line.strip()
    if not line.startswith("["):  # the header, or one evaluator's opinion
      continue
    where = f"{evaluation}, line {number}"
    match = len(line) < _LONGEST and _EVALUATION.fullmatch(line)
    if not match:
      raise UserError(
        f"{where}: {line[:80]!r} is not [START - END], name, label and "
        "[V, A, D], separated by tabs; copy the file from the release again"
      )
    start, name, prefix, letter, label = match.groups()
    label = canonical(label, where)
    turns.append((float(start), name, prefix, letter, label, where))
  if not turns:
    raise UserError(
      f"{evaluation}: no evaluated utterance, a line that begins with [START - "
      "END]; copy the file from the release again"
    )
  found = [
    Utterance(
      path=str(wav / f"{name}.wav"),
      label=label,
      # The dialogue's own letter says who wears the markers, not who speaks.
      speaker=prefix + letter,
      dialogue=dialogue,
      turn=turn,
      session=normalise_session(prefix),
      text=texts.get(spelling.key(name), ""),
    )
    for turn, (_, name, prefix, letter, label, _) in enumerate(sorted(turns))
  ]
  return list(zip((where for *_, where in sorted(turns)), found, strict=True))


def _read_lines(path: pathlib.Path) -> list[str]:
  # Not `splitlines`: in Latin-1 text it takes some letters for line ends.
  return re.split("\r\n?|\n", delimited.decode(path))
