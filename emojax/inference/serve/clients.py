"""Who is connected, and what each of them is told.

A client is one session: sound from a microphone, or a recording. It is heard in
a thread of its own; all share one listener.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from emojax.audio import io
from emojax.audio.io import UnreadableAudio
from emojax.errors import UserError
from emojax.inference import following
from emojax.inference.backlog import Backlog
from emojax.inference.listener import Listener, Segment
from emojax.inference.serve import limits, messages
from emojax.inference.serve.messages import Message
from emojax.inference.session import Session
from emojax.inference.stream import Counts, Stream, Window

_HIGHEST = 768_000  # Samples a second; see `Stream`.
_PATIENCE = 10.0  # Seconds in which sessions end when the server does.
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")

Events = Iterator[Window | Segment]


class Clients:
  """All who are connected, never more than `limits.CLIENTS`."""

  def __init__(self, listener: Listener, run: str):
    """`run`: what it is called on the page."""
    self._listener, self._run = listener, run
    self._now: set[_Client] = set()
    self._is_open = True
    self._threads = ThreadPoolExecutor(limits.CLIENTS)

  def about(self) -> Message:
    """See `messages.about`."""
    return messages.about(self._listener, self._run)

  async def serve(self, socket: WebSocket) -> None:
    """One client, from its beginning to its end."""
    await socket.accept()
    listener = self._listener.fresh()
    client = _Client(socket, listener, self._run, self._threads)
    if not self._is_open or len(self._now) >= limits.CLIENTS:
      await client.refuse(
        f"{limits.CLIENTS} sessions are going on, as many as are heard at "
        "once: try again when one has ended"
      )
      return
    self._now.add(client)
    try:
      await client.run()
    finally:
      self._now.discard(client)

  async def close(self) -> None:
    """Takes no more clients, and ends all sessions; they keep their results."""
    self._is_open = False
    for client in self._now:
      client.finish()
    with contextlib.suppress(TimeoutError):
      async with asyncio.timeout(_PATIENCE):
        while self._now:
          await asyncio.sleep(0.05)


class _Client:
  """One session over one WebSocket."""

  def __init__(
    self, socket: WebSocket, listener: Listener, run: str, threads: Executor
  ):
    self._socket, self._listener, self._run = socket, listener, run
    self._threads, self._loop = threads, asyncio.get_running_loop()
    self._session = Session(listener.system.classes, listener.hop)
    self._receiving: asyncio.Task | None = None
    self._is_over = False  # The thread has to stop.

  async def run(self) -> None:
    """Ends with one `end` or `error`, unless the client has vanished."""
    try:
      match await self._next(limits.QUIET):
        case {"type": "start"} as message:
          await self._microphone(message)
        case {"type": "upload"} as message:
          await self._recording(message)
        case _:
          raise UserError("a session begins with start or upload")
      await self._send({"type": "end"})
    except UserError as error:
      await self.refuse(str(error))
      return
    except WebSocketDisconnect:
      return
    await self._close()

  async def refuse(self, why: str) -> None:
    """Says why, and hangs up."""
    with contextlib.suppress(WebSocketDisconnect):
      await self._send(messages.error(why))
    await self._close()

  def finish(self) -> None:
    """Ends the session as its user would."""
    if self._receiving is not None:
      self._receiving.cancel()

  async def _microphone(self, message: Message) -> None:
    rate = messages.number(message, "rate", _HIGHEST)
    stream = Stream(self._listener, rate)
    backlog = Backlog(round(limits.WAITING * rate), "the page", limits.QUIET)
    await self._send(self._ready())
    events = following.live(stream, self._listener, backlog)
    sound = self._take_sound(backlog, rate)
    await self._hear(stream, events, sound, backlog.close)

  async def _recording(self, message: Message) -> None:
    name = str(message.get("name"))[:200]
    size = messages.number(message, "size", 1 << 60)
    if not size:
      raise UserError(f"{name}: an empty file")
    if size > limits.UPLOAD:
      raise UserError(
        f"{name}: {size / 2**20:.0f} MB are too much: at most "
        f"{limits.UPLOAD >> 20} MB are taken; cut it, or compress it (FLAC)"
      )
    suffix = pathlib.PurePath(name).suffix
    suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, f"recording{suffix}")
      try:
        with open(path, "wb") as file:
          await self._take_file(file, size)
      except OSError as error:
        raise UserError(f"no room for {name} where emojax runs") from error
      try:
        await self._hear_file(path)
      except UnreadableAudio as error:
        raise UserError(f"{name}: {error.why}") from error

  async def _hear_file(self, path: str) -> None:
    stream = Stream(
      self._listener, await asyncio.to_thread(io.sample_rate, path)
    )
    seconds = await asyncio.to_thread(io.seconds, path)
    await self._send({**self._ready(), "seconds": seconds})
    events = following.all_of(stream, self._listener, io.blocks(path))
    await self._hear(stream, events, self._take_words(), self._stop)

  async def _hear(
    self,
    stream: Stream,
    events: Events,
    receive: Coroutine,
    stop: Callable[[], None],
  ) -> None:
    """Follows the events while it receives what the page sends.

    Who of both ends first ends the session; `stop` ends the events. What was
    heard is sent to the page also where one of them fails.
    """
    self._session.counts = stream.counts
    following_ = self._loop.run_in_executor(
      self._threads, self._follow, stream, events
    )
    self._receiving = asyncio.create_task(receive)
    error = None
    try:
      both = {following_, self._receiving}
      await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
      if self._receiving.done() and not self._receiving.cancelled():
        error = self._receiving.exception()
      if isinstance(error, WebSocketDisconnect):
        raise error
      stop()
      try:
        await following_
      except (UserError, UnreadableAudio) as failure:
        error = error or failure
    finally:
      self._receiving.cancel()
      self._stop()
      stop()
      await asyncio.wait({following_})
      following_.exception()  # Nobody may be there to be told.
    await self._send_files()
    if error is not None:
      raise error

  def _follow(self, stream: Stream, events: Events) -> None:
    """The thread: tells the page of all that is found."""
    told = Counts()
    with contextlib.closing(events):
      for found in events:
        if self._is_over:
          return
        if found.end > 3600 * limits.HOURS:
          raise UserError(f"only the first {limits.HOURS:g} hours are heard")
        self._session.add(found)
        self._post(messages.found(found, stream))
        if stream.counts != told:
          told = dataclasses.replace(stream.counts)
          self._post(messages.counts(told))

  def _post(self, message: Message) -> None:
    """From the thread; who does not take it is waited for."""
    sent = asyncio.run_coroutine_threadsafe(self._send(message), self._loop)
    sent.result()

  def _stop(self) -> None:
    self._is_over = True

  async def _take_sound(self, backlog: Backlog, rate: int) -> None:
    """Until the page says that it stops; raises where something is wrong."""
    room = round(3600 * limits.HOURS * rate)
    while True:
      match await self._next(None):
        case bytes() as data:
          if len(data) % 4:
            raise UserError(f"{len(data)} bytes are no float32 samples")
          room -= len(data) // 4
          backlog.push(np.frombuffer(data, "<f4"))
        case {"type": "lost"} as message:
          count = messages.number(message, "count", room)
          room -= count
          backlog.skip(count)
        case {"type": "save"}:
          await self._send_files()
        case {"type": "stop"}:
          return
        case message:
          raise UserError(f"no {message['type']!r} in a session")
      if room <= 0:
        raise UserError(
          f"a session ends after {limits.HOURS:g} hours: start another"
        )

  async def _take_file(self, file, size: int) -> None:
    while size:
      match await self._next(limits.QUIET):
        case bytes() as data:
          size -= len(data)
          if size < 0:
            raise UserError("more bytes than the page said")
          await asyncio.to_thread(file.write, data)
        case _:
          raise UserError("the recording was not sent to its end")

  async def _take_words(self) -> None:
    """What the page says while it waits for the results of a recording."""
    while True:
      match await self._next(None):
        case {"type": "save"}:
          await self._send_files()
        case {"type": "stop"}:
          return
        case _:
          raise UserError("the recording was sent already")

  async def _next(self, patience: float | None):
    """The next message, or the bytes of a binary one.

    Raises:
      WebSocketDisconnect: there is nobody any more.
      UserError: it is malformed, too large, or does not come.
    """
    try:
      async with asyncio.timeout(patience):
        event = await self._socket.receive()
    except TimeoutError as error:
      raise UserError(f"nothing came for {patience:g} seconds") from error
    if event["type"] == "websocket.disconnect":
      raise WebSocketDisconnect(event["code"])
    if event.get("text") is not None:
      return messages.parse(event["text"])
    if len(event["bytes"]) > limits.FRAME:
      raise UserError(f"a message of more than {limits.FRAME} bytes")
    return event["bytes"]

  def _ready(self) -> Message:
    return {"type": "ready", **messages.about(self._listener, self._run)}

  async def _send_files(self) -> None:
    """The session until now, as `live --output` leaves it."""
    files = await asyncio.to_thread(self._session.tables)
    await self._send({"type": "files", "files": files})

  async def _send(self, message: Message) -> None:
    await self._socket.send_text(json.dumps(message))

  async def _close(self) -> None:
    # Who has closed it already is not told again.
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
      await self._socket.close()
