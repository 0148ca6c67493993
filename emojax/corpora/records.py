"""The records that readers yield: one of recordings, one of faces."""

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

PARTS = ("train", "validation", "test")
_SESSION = re.compile(r"(?:ses(?:sion)?[\s_-]*)?0*(\d+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Utterance:
  """One labelled recording and its place in a conversation.

  Attributes:
    path: the audio file; '' where a corpus is read for its text alone and has
      none.
    label: one of `labels.LABELS`, or '' where it is not labelled.
    speaker: who speaks; unique within the corpus, never empty.
    dialogue: the conversation it belongs to; unique within its session. An
      isolated clip is a dialogue of its own.
    turn: position in the dialogue; only the order counts.
    session: normalised by `normalise_session`; '' where the corpus has
      none.
    text: the transcript; '' where it is unknown.
  """

  path: str
  label: str
  speaker: str
  dialogue: str
  turn: int = 0
  session: str = ""
  text: str = ""


@dataclasses.dataclass(frozen=True)
class Face:
  """One face: what is known of it, and where `images.load` finds its pixels.

  Attributes:
    path: the image, or the table whose text holds the pixels.
    label: one of `labels.LABELS`, or '' where it is not labelled.
    part: one of `PARTS`.
    name: unique within the corpus.
    votes: of the annotators, in the order that the reader states; empty where
      the corpus has none.
    box: left, top, right and bottom of the face, in pixels of the image, which
      it may leave; None is the whole image.
    confidence: of the detector that drew the box; None where it is unknown.
    size: height and width of the image as it is shipped; None is any.
    offset: the byte of a table at which the pixels begin, decimal numbers row
      by row, of an image of `size`; None where `path` is an image.
  """

  path: str
  label: str
  part: str
  name: str
  votes: tuple[int, ...] = ()
  box: tuple[int, int, int, int] | None = None
  confidence: float | None = None
  size: tuple[int, int] | None = None
  offset: int | None = None


def normalise_session(session: str | int) -> str:
  """Gives '5' for 'Ses05', 'Session5', '05' and 5; other names as they are."""
  name = str(session).strip()
  match = _SESSION.fullmatch(name)
  return str(int(match[1])) if match else name


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
    prefix = f"{corpus}:" if len(found) > 1 else ""
    corpora += [corpus] * len(utterances)
    for one in utterances:
      names = {"speaker": prefix + one.speaker}
      names["dialogue"] = prefix + one.dialogue
      names["session"] = one.session and prefix + one.session
      merged.append(dataclasses.replace(one, **names))
  return merged, corpora


def draw(count: int, *shares: float) -> list[np.ndarray]:
  """Draws parts that a release does not draw: at random, always the same.

  They are disjoint rows int64 of `count`, sorted. A part has its share of them,
  rounded up: so the sizes of Li & Xu (2020, section 4.1) come out, 2,455 of
  12,271 and twice 9,180 of 91,793.
  """
  sizes = [math.ceil(share * count) for share in shares]
  order = np.random.default_rng(0).permutation(count)
  return [np.sort(rows) for rows in np.split(order, np.cumsum(sizes))[:-1]]
