"""IEMOCAP: five sessions of two actors in conversation, as it is released.

Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database",
Language Resources and Evaluation 42(4), 2008.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator

from emojax.corpora.labels import canonical
from emojax.corpora.records import Utterance, normalise_session
from emojax.errors import UserError
from emojax.runtime import walk

LAYOUT = (
  "Session1 to Session5, each with dialog/EmoEvaluation, "
  "dialog/transcriptions and sentences/wav"
)
SOURCE = "IEMOCAP is given on request: https://sail.usc.edu/iemocap"

# [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5, 2.5, 2.5]
_EVALUATION = re.compile(
  r"\[(\d+\.?\d*) - \d+\.?\d*\]\t((Ses\d\d)[FM]_\w+_([FM])\w+)\t(\w+)\t\[.*\]"
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


def _read(path: str) -> Iterator[Utterance]:
  root = pathlib.Path(path)
  if (root / "IEMOCAP_full_release").is_dir():
    root = root / "IEMOCAP_full_release"
  for session in filter(pathlib.Path.is_dir, sorted(root.glob("Session[0-9]"))):
    folder = session / "dialog" / "EmoEvaluation"
    # macOS left hidden `._` files in Session5.
    names = (path for path in folder.glob("*.txt") if path.name[0] != ".")
    evaluations = sorted(names)
    if not evaluations:
      raise UserError(f"{folder}: no evaluations (*.txt); expected {LAYOUT}")
    for evaluation in evaluations:
      yield from _read_dialogue(session, evaluation)


def _read_dialogue(
  session: pathlib.Path, evaluation: pathlib.Path
) -> list[Utterance]:
  """Reads a dialogue; the turns follow the time at which they start."""
  dialogue = evaluation.stem
  transcript = session / "dialog" / "transcriptions" / evaluation.name
  # A copy may lack the transcripts.
  lines = _read_lines(transcript) if transcript.is_file() else ()
  matches = (_TRANSCRIPT.fullmatch(line.strip()) for line in lines)
  texts = {match[1]: match[2].strip() for match in matches if match}
  wav = session / "sentences" / "wav" / dialogue
  turns = []
  for number, line in enumerate(_read_lines(evaluation), 1):
    if not line.startswith("["):  # the header, or one evaluator's opinion
      continue
    where = f"{evaluation}, line {number}"
    match = _EVALUATION.fullmatch(line.strip())
    if not match:
      raise UserError(
        f"{where}: {line.strip()!r} is not [START - END], name, label and "
        "[V, A, D], separated by tabs; copy the file from the release again"
      )
    start, name, prefix, letter, label = match.groups()
    turns.append((float(start), name, prefix, letter, canonical(label, where)))
  return [
    Utterance(
      path=str(wav / f"{name}.wav"),
      label=label,
      # The dialogue's own letter says who wears the markers, not who speaks.
      speaker=prefix + letter,
      dialogue=dialogue,
      turn=turn,
      session=normalise_session(prefix),
      text=texts.get(name, ""),
    )
    for turn, (_, name, prefix, letter, label) in enumerate(sorted(turns))
  ]


def _read_lines(path: pathlib.Path) -> list[str]:
  # Not `splitlines`: in Latin-1 text it takes some letters for line ends.
  content = path.read_bytes()
  try:
    return content.decode("utf-8").split("\n")
  except UnicodeDecodeError:
    return content.decode("latin-1").split("\n")
