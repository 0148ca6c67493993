"""From a host and a port to a page that is served until Ctrl-C."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from emojax.errors import UserError
from emojax.inference.listener import Listener
from emojax.inference.serve import app, limits
from emojax.inference.serve.clients import Clients
from emojax.runtime import process

_PORTS = 65_535
_LARGEST = 2 * limits.FRAME  # Bytes: what is larger is not even received.
_PATIENCE = 5  # Seconds for connections to close.


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
  """Takes a port, 0 for any that is free.

  Raises:
    UserError: it is taken, or there is no such address on this machine.
  """
  if not 0 <= port <= _PORTS:
    raise UserError(f"--port={port}: give 0 to {_PORTS}")
  try:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, *_, address = found[0]
    bound = socket.create_server(address[:2], family=family)
  except (OSError, UnicodeError) as error:
    if getattr(error, "errno", None) == errno.EADDRINUSE:
      raise UserError(
        f"port {port} of {host} is taken: give another --port"
      ) from error
    why = getattr(error, "strerror", None) or error
    raise UserError(f"--host={host} --port={port}: {why}") from error
  with bound:
    yield bound


def serve(
  listener: Listener, run: str, host: str, bound: socket.socket
) -> None:
  """Serves the page until the user stops it (Ctrl-C).

  Args:
    listener: with what all clients are heard.
    run: the folder that it was loaded from.
    host: where `bound` listens, and by which name the page is reached.
    bound: of `listening`.
  """
  clients = Clients(listener, os.path.basename(os.path.abspath(run)))
  server = make(clients, host)

  async def stop() -> None:
    await clients.close()
    server.should_exit = True

  listener.warm_up()
  # In a thread: uvicorn has its own ways with signals in the main one.
  with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
    loop = runner.get_loop()
    with process.on_stop(
      lambda number: asyncio.run_coroutine_threadsafe(stop(), loop)
    ):
      served = thread.submit(runner.run, server.serve([bound]))
      print(f"{_url(host, bound)} shows {run}; Ctrl-C ends it", flush=True)
      served.result()


def make(clients: Clients, host: str) -> uvicorn.Server:
  """The server of the page, within its limits."""
  return uvicorn.Server(
    uvicorn.Config(
      app.make(clients, host),
      log_config=None,
      access_log=False,
      server_header=False,
      lifespan="off",
      ws="websockets-sansio",
      ws_max_size=_LARGEST,
      # Sound gets no smaller by it, and a small message may unpack to a large.
      ws_per_message_deflate=False,
      limit_concurrency=limits.CONNECTIONS,
      timeout_graceful_shutdown=_PATIENCE,
    )
  )


def _url(host: str, bound: socket.socket) -> str:
  """Where a browser on this machine finds the page."""
  address, port, *_ = bound.getsockname()
  if ipaddress.ip_address(address).is_unspecified:
    host = "localhost"
  return f"http://{f'[{host}]' if ':' in host else host}:{port}"
