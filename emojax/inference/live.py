"""Listening to a microphone, a file or standard input, and telling of it.

S samples.
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from emojax.audio import io
from emojax.audio.io import UnreadableAudio
from emojax.errors import UserError
from emojax.inference import following, microphone
from emojax.inference.backlog import Backlog
from emojax.inference.listener import Listener, Segment
from emojax.inference.session import Session
from emojax.inference.stream import Stream, Window
from emojax.runtime import process

_BLOCK = 1600  # Samples, of standard input and of a file in its own time.
_SECONDS = 10.0  # That may wait to be heard.
_WAIT = 0.2  # Seconds until a pipe that waits finds out that it is to stop.
_PATIENCE = 60.0  # Seconds without a sample: a pipe may have to start first.

Show = Callable[[Window | Segment, Stream], None]


def listen(
  listener: Listener,
  session: Session,
  show: Show,
  source: str,
  device: str = "",
  rate: int = 16_000,
  fast: bool = False,
) -> None:
  """Listens until the source ends or the user does (Ctrl-C).

  Args:
    listener: with what.
    session: gets all that is found.
    show: is told of each window and segment.
    source: '' for the microphone, '-' for raw 16-bit PCM (mono, little endian)
      on standard input, or a file.
    device: see `microphone.listening`.
    rate: of standard input, samples a second.
    fast: of a file or standard input: as fast as possible, all of it. Else a
      file takes its time, and who is late drops windows.

  Raises:
    UserError: the source is not there, or ends with an error. What was heard
      until then is in the session.
  """
  if source not in ("", "-"):
    rate = _rate(source)
  listener.warm_up()
  if not source:
    with microphone.listening(device) as (backlog, rate):
      _follow(listener, session, show, backlog, rate)
    return
  stopped = threading.Event()
  blocks = _pcm(0, stopped) if source == "-" else _file(source)
  if fast:
    _hear_all(listener, session, show, blocks, rate, stopped)
    return
  name = "standard input" if source == "-" else source
  backlog = Backlog(round(_SECONDS * rate), name, _PATIENCE)
  pace = None if source == "-" else rate
  feeding = threading.Thread(
    target=_feed, args=(blocks, backlog, pace), daemon=True
  )
  feeding.start()
  _follow(listener, session, show, backlog, rate)


def _follow(listener, session, show, backlog, rate) -> None:
  stream = Stream(listener, rate)
  session.counts = stream.counts
  with process.on_stop(lambda number: backlog.close()):
    for found in following.live(stream, listener, backlog):
      session.add(found)
      show(found, stream)


def _hear_all(listener, session, show, blocks, rate, stopped) -> None:
  stream = Stream(listener, rate)
  session.counts = stream.counts

  def until_stopped() -> Iterator[np.ndarray]:
    for samples_S in blocks:
      if stopped.is_set():
        return
      yield samples_S

  with process.on_stop(lambda number: stopped.set()):
    for found in following.all_of(stream, listener, until_stopped()):
      session.add(found)
      show(found, stream)


def _feed(blocks: Iterator, backlog: Backlog, pace: int | None) -> None:
  """Pushes what comes; with `pace` samples a second, else as it comes."""
  start, heard = time.monotonic(), 0
  try:
    for block_S in blocks:
      for first in range(0, len(block_S), _BLOCK):
        samples_S = block_S[first : first + _BLOCK]
        heard += len(samples_S)
        if pace is not None:
          time.sleep(max(0, start + heard / pace - time.monotonic()))
        backlog.push(samples_S)
  except UserError as error:
    backlog.close(error)
  else:
    backlog.close()


def _pcm(descriptor: int, stopped: threading.Event) -> Iterator[np.ndarray]:
  """Float32 of 16-bit samples until `stopped`; half a sample is no sample.

  Of a descriptor: Python can not end while a thread waits in `sys.stdin`.
  """
  rest = b""
  while data := _read(descriptor, stopped):
    data = rest + data
    rest = data[len(data) // 2 * 2 :]
    samples_S = np.frombuffer(data[: len(data) - len(rest)], "<i2")
    yield samples_S.astype(np.float32) / io.FULL_SCALE


def _read(descriptor: int, stopped: threading.Event) -> bytes:
  """What has come in; nothing at the end, or when it is to stop."""
  try:
    while not stopped.is_set():
      # A signal does not end `os.read`: Python begins it again.
      if select.select([descriptor], [], [], _WAIT)[0]:
        return os.read(descriptor, 2 * _BLOCK)
    return b""
  except OSError as error:  # It is closed, or a folder.
    raise UserError(
      f"standard input can not be read ({error.strerror}): send samples, or "
      "give another --input"
    ) from error


def _file(path: str | os.PathLike) -> Iterator[np.ndarray]:
  with _readable():
    yield from io.blocks(path)


def _rate(path: str | os.PathLike) -> int:
  with _readable():
    return io.sample_rate(path)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
  try:
    yield
  except UnreadableAudio as error:
    raise UserError(f"{error}; give another --input") from error
