"""The one record that every reader of an audio corpus yields."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Utterance:
  """One labelled recording and its place in a conversation.

  Attributes:
    path: the audio file.
    label: one of `labels.LABELS`, or '' where it is not labelled.
    speaker: who speaks; unique within the corpus, never empty.
    dialogue: the conversation it belongs to; unique within its session. An
      isolated clip is a dialogue of its own.
    turn: position in the dialogue; only the order counts.
    session: normalised by `table.normalise_session`; '' where the corpus has
      none.
    text: the transcript; '' where it is unknown.
  """

  path: str
  label: str
  speaker: str
  dialogue: str
  turn: int
  session: str = ""
  text: str = ""
