"""What transcribers say: words, and when each is spoken."""

from typing import NamedTuple


class Word(NamedTuple):
  """A word with its punctuation, without spaces around it.

  In seconds from the beginning of what was transcribed.
  """

  text: str
  start: float
  end: float
