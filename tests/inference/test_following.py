"""Following a source: all of it, or never behind."""

import threading
import time

import numpy as np
import pytest

from emojax.errors import UserError
from emojax.inference import following
from emojax.inference.backlog import Backlog
from emojax.inference.listener import Segment
from emojax.inference.stream import Stream, Window

RATE = 16_000


def everything(listener, talk):
  stream = Stream(listener, RATE)
  return list(following.all_of(stream, listener, [talk]))


def follow(listener, talk, pause=0.0, error=None, size=RATE // 4):
  """Feeds blocks from a thread, as a microphone does."""
  stream, backlog = Stream(listener, RATE), Backlog(3 * RATE, "it", 60)

  def feed():
    for start in range(0, len(talk), size):
      backlog.push(talk[start : start + size])
      time.sleep(pause)
    backlog.close(error)

  threading.Thread(target=feed).start()
  return stream, following.live(stream, listener, backlog)


def of_type(kind, found):
  return [event for event in found if isinstance(event, kind)]


def test_segments_are_those_of_the_whole(listener, talk):
  found = everything(listener, talk)
  stream, live = follow(listener, talk, pause=0.02)
  live = list(live)
  wanted, segments = (of_type(Segment, events) for events in (found, live))
  assert len(wanted) == len(segments) == 2
  for one, other in zip(wanted, segments, strict=True):
    assert one[:3] == other[:3]
    np.testing.assert_allclose(
      one.probabilities_C, other.probabilities_C, atol=1e-5
    )
  windows = of_type(Window, found)
  heard = of_type(Window, live)
  # A slow machine may have left some out, but then it says so.
  assert len(heard) + stream.counts.dropped_windows == len(windows)
  by_end = {w.end: w for w in windows}
  for window in heard:
    assert window[:3] == by_end[window.end][:3]


def test_who_is_slow_drops_windows_and_stays_near(listener, talk, monkeypatch):
  classify = listener.classify

  def slow(samples_S):
    time.sleep(0.3)  # Half a second of signal comes meanwhile.
    return classify(samples_S)

  monkeypatch.setattr(listener, "classify", slow)
  monkeypatch.setattr(listener, "hop", 0.1)
  stream, live = follow(listener, talk, pause=0.02, size=RATE // 20)
  windows = of_type(Window, live)
  assert stream.counts.dropped_windows > 10
  assert stream.counts.lost == 0
  total = len(windows) + stream.counts.dropped_windows
  assert total == pytest.approx(len(talk) / RATE * 10, abs=1.5)


def test_segments_that_wait_are_bounded(listener, talk, monkeypatch):
  describe, freed = listener.describe, threading.Event()

  def slow(piece):
    freed.wait(20)
    return describe(piece)

  monkeypatch.setattr(listener, "describe", slow)
  backlog = Backlog(100 * RATE, "it", 60)
  backlog.push(np.concatenate([talk] * 4))
  backlog.close()
  stream = Stream(listener, RATE)
  events = following.live(stream, listener, backlog)
  threading.Timer(2.0, freed.set).start()
  segments = of_type(Segment, events)
  assert stream.counts.dropped_segments > 0
  assert len(segments) + stream.counts.dropped_segments == 8


def test_a_source_that_fails_is_told_after_what_was_heard(listener, talk):
  _, live = follow(listener, talk[: 3 * RATE], error=UserError("unplugged"))
  found = []
  with pytest.raises(UserError, match="unplugged"):
    for event in live:
      found.append(event)
  assert of_type(Window, found)[-1].end == 3.0
  assert of_type(Segment, found)
