"""A page that is served, and who talks to it, for tests."""

import contextlib
import json
import threading
import time

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from emojax.encoders.words import Word
from emojax.inference.serve import server
from emojax.inference.serve.clients import Clients


class Numbered:
  """A transcriber that hears numbers of words and of samples."""

  needs_states = False

  def fresh(self):
    return self

  def transcribe(self, samples_S, outputs):
    said = ["word 1 of", str(len(samples_S))]
    return [Word(text, i / 4, i / 4 + 0.2) for i, text in enumerate(said)]


class Served:
  """`clients` and where they are served."""

  def __init__(self, clients, port):
    self.clients, self.port = clients, port
    self.host = f"localhost:{port}"
    self.url = f"http://{self.host}"

  def connect(self, **options):
    options = {"origin": self.url, "compression": None, **options}
    return client.connect(f"ws://{self.host}/listen", **options)

  def wait_until_empty(self):
    for _ in range(200):
      if not self.clients._now:
        return
      time.sleep(0.05)
    raise AssertionError(f"{len(self.clients._now)} clients are still there")


@contextlib.contextmanager
def serving(listener):
  """Serves a page from another thread."""
  clients = Clients(listener, "tiny")
  with server.listening("127.0.0.1", 0) as bound:
    uvicorn_server = server.make(clients, "127.0.0.1")
    sockets = {"sockets": [bound]}
    thread = threading.Thread(target=uvicorn_server.run, kwargs=sockets)
    thread.start()
    try:
      yield Served(clients, bound.getsockname()[1])
    finally:
      uvicorn_server.should_exit = True
      thread.join(20)
      assert not thread.is_alive()


def say(connection, kind, **fields):
  connection.send(json.dumps({"type": kind, **fields}))


def events(connection, timeout=20):
  """All that comes until the server hangs up."""
  found = []
  while True:
    try:
      found.append(json.loads(connection.recv(timeout)))
    except ConnectionClosed:
      return found


def of_kind(found, kind):
  return [event for event in found if event["type"] == kind]


def step(connection, samples_S):
  """Sends a hop's samples and gives all up to the next window."""
  connection.send(samples_S.astype("<f4").tobytes())
  found = []
  while not found or found[-1]["type"] != "window":
    found.append(json.loads(connection.recv(20)))
  return found


def converse(connection, samples_S, rate):
  """A whole session, hop by hop, so that nobody is late: all that is said."""
  say(connection, "start", rate=rate)
  # Where the rate is another, windows end some samples later.
  ends = range(rate + rate // 10, len(samples_S), rate)
  *pieces, last_S = np.split(samples_S, ends)
  found = []
  for piece_S in pieces:
    found += step(connection, piece_S)
  connection.send(last_S.astype("<f4").tobytes())
  say(connection, "stop")
  return found + events(connection)


def upload(connection, name, data, piece=100_000):
  say(connection, "upload", name=name, size=len(data))
  for start in range(0, len(data), piece):
    connection.send(data[start : start + piece])
  return events(connection)
