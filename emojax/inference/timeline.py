"""Emotion over time of recordings of any length, in flat memory."""

import collections
import logging
import os
from collections.abc import Iterator, Sequence

from emojax.audio import io
from emojax.audio.io import UnreadableAudio
from emojax.errors import UserError
from emojax.inference import following, session, sources
from emojax.inference.listener import Listener
from emojax.inference.results import require_writable
from emojax.inference.session import Session
from emojax.inference.stream import Window
from emojax.runtime import files
from emojax.runtime.progress import progress

_LOG = logging.getLogger(__name__)


def write(
  listener: Listener, paths: Sequence[str], output: str | os.PathLike
) -> tuple[int, int]:
  """Writes a CSV: the `path` of a recording, and `Session.rows` of it.

  What can not be used is named in a warning and skipped.

  Returns:
    How many recordings are in it, and of how many that were found.

  Raises:
    UserError: none can be used; the file can not be written, or is one of them.
  """
  require_writable(output, paths)
  found, unread = sources.find(paths)
  used, skipped = 0, list(unread)
  with files.whole_table(output) as file:
    for path in found:
      try:
        rows = list(_rows(listener, path))
      except UnreadableAudio as error:
        _LOG.warning("skipped %s", error)
        skipped.append(error)
        continue
      lines = session.as_csv({"path": path, **row} for row in rows)
      file.write(lines if not used else lines.partition("\n")[2])
      used += 1
    if not used:
      first = skipped[0]
      raise UserError(
        f"none of {len(skipped)} recordings can be used; the first: {first}"
      )
  return used, used + len(skipped)


def _rows(listener: Listener, path: str) -> Iterator[dict[str, str]]:
  heard = Session(listener.system.classes, listener.hop)

  def windows() -> Iterator[Window]:
    for found in following.recording(listener, path):
      heard.add(found)
      if isinstance(found, Window):
        yield found

  total = max(1, int(io.seconds(path) / listener.hop))
  name = os.path.basename(path)
  collections.deque(progress(windows(), total, name, "window"), maxlen=0)
  if not heard.windows:
    raise UnreadableAudio(path, "shorter than what is heard at once")
  return heard.rows()
