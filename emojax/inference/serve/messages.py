"""What the page and the server say to each other, besides sound: JSON.

To the server: `{"type": "start", "rate": 48000}` and then binary messages of
mono samples, float32 little endian, or `{"type": "upload", "name": "talk.wav",
"size": 123}` and then the file's bytes; `lost`, so many samples that the
network did not take in time; `save`, to be sent the session so far; `stop`.

To the page: `ready`, `window`, `segment`, `counts`, `files`, and at last `end`
or `error`.
"""

import dataclasses
import json
from typing import Any

from emojax.errors import UserError, one_line
from emojax.inference.listener import Listener, Segment
from emojax.inference.serve import limits
from emojax.inference.stream import Counts, Stream, Window

Message = dict[str, Any]
_DIGITS = 6  # Of probabilities, as in the tables.


def parse(text: str) -> Message:
  """Raises a UserError where it is no JSON object with a type."""
  if len(text) > limits.MESSAGE:
    raise UserError(f"a message of more than {limits.MESSAGE} characters")
  try:
    message = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise UserError("a message that is no JSON") from error
  if not isinstance(message, dict) or not isinstance(message.get("type"), str):
    raise UserError("a message without a type")
  return message


def number(message: Message, name: str, most: int) -> int:
  """A whole number from 0 to `most`; raises a UserError where it is none."""
  value = message.get(name)
  if type(value) is not int or not 0 <= value <= most:
    raise UserError(f"{message['type']}: {name} has to be 0 to {most}")
  return value


def about(listener: Listener, run: str) -> Message:
  """What the page has to know of a run before it listens."""
  return {
    "run": run,
    "classes": list(listener.system.classes),
    "window": listener.window,
    "hop": listener.hop,
    "threshold": listener.system.threshold,
    "transcribes": listener.transcriber is not None,
    "upload": limits.UPLOAD,
  }


def found(event: Window | Segment, stream: Stream) -> Message:
  """A window, with the level at its end in dB of full scale, or a segment."""
  if isinstance(event, Segment):
    return {
      "type": "segment",
      "start": event.start,
      "end": event.end,
      "emotion": event.emotion,
      "probabilities": _plain(event.probabilities_C),
      "words": [word._asdict() for word in event.words],
    }
  return {
    "type": "window",
    "start": event.start,
    "end": event.end,
    "label": event.label,
    "probabilities": _plain(event.probabilities_C),
    "smoothed": _plain(event.smoothed_C),
    "speech": event.speech,
    "level": round(stream.level_db, 1),
  }


def counts(found: Counts) -> Message:
  """What was odd about the signal until now."""
  return {"type": "counts", **dataclasses.asdict(found)}


def error(why: str) -> Message:
  """The one line that ends a session."""
  return {"type": "error", "line": one_line(why)}


def _plain(values_C) -> list[float] | None:
  if values_C is None:
    return None
  return [round(float(value), _DIGITS) for value in values_C]
