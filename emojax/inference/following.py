"""A stream and what is said in it, as fast as it comes or as it can be heard.

S samples.
"""

import collections
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from emojax.audio import io
from emojax.errors import UserError
from emojax.inference.backlog import Backlog
from emojax.inference.listener import Listener, Segment, Speech
from emojax.inference.stream import Stream, Window

_MOST_SEGMENTS = 2  # That wait to be transcribed.
_WAIT = 0.1  # Seconds until a transcript is asked for, where nothing is heard.


def all_of(
  stream: Stream, listener: Listener, blocks: Iterable[np.ndarray]
) -> Iterator[Window | Segment]:
  """Hears a signal, float32 [S] each, however long it takes; none is lost."""
  for samples_S in blocks:
    yield from _described(listener, stream.feed(samples_S))
  yield from _described(listener, stream.finish())


def recording(
  listener: Listener, path: str | os.PathLike
) -> Iterator[Window | Segment]:
  """Hears a file of any length, in flat memory; raises as `io.blocks`."""
  listener = listener.fresh()
  stream = Stream(listener, io.sample_rate(path))
  return all_of(stream, listener, io.blocks(path))


def live(
  stream: Stream, listener: Listener, backlog: Backlog
) -> Iterator[Window | Segment]:
  """Hears a source as it speaks, and never falls behind it.

  Who is late classifies the newest window. Segments are transcribed by another
  thread, and come when that is done; of those that wait the oldest is dropped.
  All is counted in `stream.counts`. Raises what the source failed with, at
  last.
  """
  waiting: collections.deque[Future] = collections.deque()
  with ThreadPoolExecutor(1) as pool:

    def sort(found: Iterable[Window | Speech]) -> Iterator[Window]:
      for event in found:
        if isinstance(event, Window):
          yield event
          continue
        if len(waiting) > _MOST_SEGMENTS and waiting[1].cancel():
          del waiting[1]
          stream.counts.dropped_segments += 1
        waiting.append(pool.submit(listener.describe, event))

    error = None
    try:
      while (heard := backlog.take(_WAIT)) is not None:
        yield from sort(stream.lose(heard.lost))
        yield from sort(stream.feed(heard.samples_S, only_newest=True))
        while waiting and waiting[0].done():
          yield waiting.popleft().result()
    except UserError as failure:
      error = failure  # What was heard before is told first.
    yield from sort(stream.finish())
    for segment in waiting:
      yield segment.result()
  if error is not None:
    raise error


def _described(
  listener: Listener, found: Iterable[Window | Speech]
) -> Iterator[Window | Segment]:
  for event in found:
    is_speech = isinstance(event, Speech)
    yield listener.describe(event) if is_speech else event
