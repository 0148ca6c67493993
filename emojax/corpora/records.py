"""The records that readers yield: one of recordings, one of faces."""

import dataclasses
import logging
import math
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from emojax import spelling
from emojax.corpora.labels import canonical
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")
# As tables, folders and names of files have them.
PART_SPELLINGS = {
  **{part: part for part in PARTS},
  "training": "train",
  "testing": "test",
  **dict.fromkeys(("val", "valid", "dev"), "validation"),
}
NAMES = "speaker", "dialogue", "session"  # Unique within a corpus.
_AND = re.compile(r"\s+&\s+")
_SESSION = re.compile(
  r"(?:ses(?:sion)?[\s_-]*)?0*(\d{1,18})(?:\.0*)?", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Utterance:
  """One labelled recording and its place in a conversation.

  '' is what is not known. An isolated clip is a dialogue of its own. It is a
  whole file, or a segment of one, from `start` to `end`. Several who speak at
  once are one speaker, see `people`.
  """

  path: str  # The audio; '' where a corpus is read for its text and has none.
  label: str  # One of `labels.LABELS`.
  speaker: str  # Unique within the corpus, never empty.
  dialogue: str  # Unique within its session.
  turn: int = 0  # In the dialogue; only the order counts.
  session: str = ""  # As `normalise_session` gives it.
  text: str = ""  # The transcript.
  start: float = 0.0  # In the file, in seconds.
  end: float | None = None  # None is the end of the file.
  # Of what the file was cut from: its name, from when to when in seconds.
  cut: tuple[str, float, float] | None = None

  @property
  def stretch(self) -> tuple[str, float, float]:
    """Of what recording it is, from when to when in seconds."""
    end = math.inf if self.end is None else self.end
    return self.cut or (self.path, self.start, end)

  @property
  def name(self) -> str:
    """Unique within the corpus: the path, and from when to when in the file."""
    if not self.start and self.end is None:
      return self.path
    return f"{self.path} {self.start}-{'' if self.end is None else self.end}"


@dataclasses.dataclass(frozen=True)
class Face:
  """One face: what is known of it, and where `images.load` finds its pixels.

  A box is left, top, right and bottom of the face, in pixels of the image,
  which it may leave. Pixels in a table are decimal numbers row by row.
  """

  path: str  # The image, or the table whose text holds the pixels.
  label: str  # One of `labels.LABELS`, or '' where it is not labelled.
  part: str  # One of `PARTS`.
  name: str  # Unique within the corpus.
  votes: tuple[int, ...] = ()  # In the reader's order; () where there are none.
  box: tuple[int, int, int, int] | None = None  # None is the whole image.
  confidence: float | None = None  # Of the detector that drew the box.
  size: tuple[int, int] | None = None  # Height, width as shipped; None is any.
  offset: int | None = None  # Of the pixels in the table, in bytes.


def people(speaker: str) -> tuple[str, ...]:
  """Who speaks: 'Anna & Ben' are two, who speak at once."""
  return tuple(_AND.split(speaker))


def together(names: Iterable[str]) -> str:
  """The name of several who speak at once, always in one order."""
  return " & ".join(sorted(set(names)))


def unify_speakers(speakers: Iterable[str], where: str) -> dict[str, str]:
  """As `spelling.unify`, each of several who speak at once by themselves."""
  speakers = list(dict.fromkeys(speakers))
  spelt = spelling.unify(
    (who for one in speakers for who in people(one)), f"{where}: speaker"
  )
  return {one: together(spelt[who] for who in people(one)) for one in speakers}


def part_of(name: str) -> str:
  """The part that is meant, in any spelling; '' if it is none."""
  return PART_SPELLINGS.get(spelling.key(name), "")


def normalise_session(session: str | int) -> str:
  """Gives '5' for 'Ses05', 'Session5', '05', '5.0' and 5; others as given."""
  name = str(session).strip()
  match = _SESSION.fullmatch(name)
  return str(int(match[1])) if match else name


def unify_sessions(sessions: Iterable[str], where: str) -> dict[str, str]:
  """As `spelling.unify`, and `normalise_session` of each."""
  differ = "case, blanks, Unicode form or how a number is written"
  what = f"{where}: session"
  known = spelling.unify(sessions, what, normalise_session, differ)
  return {name: normalise_session(one) for name, one in known.items()}


class Once:
  """Recordings that are listed again: they count once, if all agrees."""

  def __init__(self, path: str | os.PathLike):
    """Takes the list's path, for the messages."""
    self._path = path
    self._first: dict[Hashable, tuple[str, Mapping[str, str]]] = {}
    self._again: list[str] = []

  def is_new(
    self, key: Hashable | None, facts: Mapping[str, str], where: str
  ) -> bool:
    """Whether a recording was not there before, by a key that it alone has.

    Raises:
      UserError: it was, and had another label, or whatever else is among the
        `facts`, by their columns; names both places.
    """
    first, known = self._first.setdefault(key, (where, facts))
    if key is None or first == where:
      return True
    for name, value in facts.items():
      if known.get(name, "") != value:
        raise UserError(
          f"{where}: the same recording as in {first}, there with {name} "
          f"{known.get(name, '')[:60]!r}, here with {value[:60]!r}; correct or "
          "remove one of the two"
        )
    self._again.append(where)
    return False

  def warn(self) -> None:
    """Says how many there were."""
    if self._again:
      _LOG.warning(
        "%s: %d are there twice and count once; the first: %s",
        *(self._path, len(self._again), self._again[0]),
      )


def unify(found: Sequence[Utterance], where: str) -> list[Utterance]:
  """Gives each speaker, session and dialogue one spelling, the first one met.

  Labels are the common ones. `where` is the corpus, for the warnings: of other
  spellings, and of turns that several utterances of a dialogue have.

  Raises:
    UserError: nobody knows a label.
  """
  common = {one.label: canonical(one.label, where) for one in found}
  speakers = unify_speakers((u.speaker for u in found), where)
  sessions = spelling.unify((u.session for u in found), f"{where}: session")
  names: dict[str, dict[str, None]] = {}
  for one in found:
    names.setdefault(sessions[one.session], {})[one.dialogue] = None
  dialogues = {
    session: spelling.unify(of_session, f"{where}: dialogue")
    for session, of_session in names.items()
  }
  unified = []
  for one in found:
    session = sessions[one.session]
    new = {
      "label": common[one.label],
      "speaker": speakers[one.speaker],
      "dialogue": dialogues[session][one.dialogue],
      "session": session,
    }
    is_new = any(getattr(one, name) != value for name, value in new.items())
    unified.append(dataclasses.replace(one, **new) if is_new else one)
  turns = {(one.session, one.dialogue, one.turn) for one in unified}
  if len(turns) < len(unified):
    _LOG.warning(
      "%s: %d of %d utterances have the turn of another one in their dialogue; "
      "these are taken in their order",
      *(where, len(unified) - len(turns), len(unified)),
    )
  return unified


def merge(
  found: Sequence[tuple[str, Sequence[Utterance]]],
) -> tuple[list[Utterance], list[str]]:
  """Puts the utterances of several corpora together.

  Where there are several, speakers, sessions and dialogues are named after
  their corpus, too: `ravdess:01`.

  Returns:
    All utterances, and the name of each one's corpus.
  """
  merged, corpora = [], []
  for corpus, utterances in found:
    after = corpus if len(found) > 1 else ""
    corpora += [corpus] * len(utterances)
    for one in utterances:
      names = {name: named_after(after, getattr(one, name)) for name in NAMES}
      merged.append(dataclasses.replace(one, **names))
  return merged, corpora


def named_after(corpus: str, name: str) -> str:
  """`ravdess:01`, each of several who speak at once; once, and not ''."""
  if not corpus or not name:
    return name
  prefix = f"{corpus}:"
  return together(prefix + one.removeprefix(prefix) for one in people(name))


def draw(count: int, *shares: float) -> list[np.ndarray]:
  """Draws parts that a release does not draw: at random, as for each `count`.

  They are disjoint rows int64 of `count`, sorted. A part has its share of them,
  rounded up: so the sizes of Li & Xu (2020, section 4.1) come out, 2,455 of
  12,271 and twice 9,180 of 91,793.
  """
  sizes = [math.ceil(share * count) for share in shares]
  rows = np.split(draw_order(count), np.cumsum(sizes))
  return [np.sort(of_part) for of_part in rows[:-1]]


def draw_order(count: int) -> np.ndarray:
  """The rows int64 of `count` at random, in the same order for each count."""
  return np.random.default_rng(0).permutation(count)
