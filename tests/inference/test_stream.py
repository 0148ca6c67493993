"""A stream: the same whatever its pieces, all of a window, bounded memory."""

import numpy as np
import pytest
import soxr
from scipy import special

from emojax.errors import UserError
from emojax.inference.listener import Speech
from emojax.inference.stream import Stream, Window

RATE = 16_000
LIKELY = np.array([0.6, 0.3, 0.1])


def pieces(samples, size):
  return [samples[i : i + size] for i in range(0, len(samples), size)]


def hear(listener, blocks, rate=RATE):
  """Windows, segments, and the stream at its end."""
  stream = Stream(listener, rate)
  found = [event for block in blocks for event in stream.feed(block)]
  found += stream.finish()
  windows = [event for event in found if isinstance(event, Window)]
  speech = [event for event in found if isinstance(event, Speech)]
  return windows, speech, stream


def same(a, b, tolerance=1e-6):
  assert [w[:3] for w in a] == [w[:3] for w in b]
  assert [w.label for w in a] == [w.label for w in b]
  for one, other in zip(a, b, strict=True):
    assert (one.probabilities_C is None) == (other.probabilities_C is None)
    if one.probabilities_C is not None:
      np.testing.assert_allclose(
        one.probabilities_C, other.probabilities_C, atol=tolerance
      )


def test_windows_end_at_each_hop_and_reach_back_as_far_as_there_is(
  listener, talk
):
  windows, _, stream = hear(listener, [talk[: 5 * RATE + 800]])
  times = [(w.start, w.end) for w in windows]
  assert times == [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (3.05, 5.05)]
  assert stream.seconds == 5.05


@pytest.mark.parametrize("rate", [8_000, 16_000, 192_000])
def test_pieces_make_no_difference(listener, talk, rate):
  signal = soxr.resample(talk, RATE, rate)
  whole = hear(listener, [signal], rate)
  parts = hear(listener, pieces(signal, rate // 30 + 7), rate)
  same(whole[0], parts[0])
  assert len(whole[1]) == len(parts[1]) >= 2
  for one, other in zip(whole[1], parts[1], strict=True):
    assert one.start == other.start
    np.testing.assert_allclose(one.samples_S, other.samples_S, atol=1e-6)
  assert any(w.label for w in whole[0])


def test_all_of_a_window_is_classified(listener, talk, monkeypatch):
  heard = []
  monkeypatch.setattr(
    listener, "classify", lambda samples_S: heard.append(samples_S) or LIKELY
  )
  windows, _, _ = hear(listener, [talk])
  windows = [w for w in windows if w.probabilities_C is not None]
  for window, samples_S in zip(windows, heard, strict=True):
    start, end = round(window.start * RATE), round(window.end * RATE)
    gain = np.abs(samples_S).max() / np.abs(talk[start:end]).max()
    np.testing.assert_allclose(samples_S, gain * talk[start:end], atol=1e-6)


def test_speech_comes_at_the_level_of_training(listener, talk):
  _, (first, *_), _ = hear(listener, [talk])
  frames_TxS = first.samples_S[: len(first.samples_S) // 512 * 512]
  powers_T = (frames_TxS.reshape(-1, 512) ** 2).mean(1)
  spoken = powers_T > powers_T.max() / 100  # What the detector hears, nearly.
  level_db = 10 * np.log10(powers_T[spoken].mean())
  assert level_db == pytest.approx(listener.system.level_db, abs=1.5)


def test_probabilities_are_those_of_the_classifier(listener, talk):
  """A window that is shorter than the compiled one, without filling up."""
  samples, system = talk[RATE : 2 * RATE + 77], listener.system
  inputs = samples[None], np.array([len(samples)])
  logits, _ = system.apply(system.model(), listener._params, *inputs)
  wanted = special.softmax(np.asarray(logits)[0] / system.temperature)
  np.testing.assert_allclose(listener.classify(samples), wanted, atol=1e-5)


def test_level_makes_no_difference(listener, talk):
  loud, quiet = (hear(listener, [talk * gain]) for gain in (0.9, 0.05))
  assert [w.label for w in loud[0]] == [w.label for w in quiet[0]]
  for one, other in zip(loud[0], quiet[0], strict=True):
    assert one.speech == pytest.approx(other.speech, abs=0.1)
    if one.probabilities_C is not None:
      shift = one.probabilities_C - other.probabilities_C
      assert np.abs(shift).max() < 0.02


def test_memory_is_bounded(listener, talk):
  stream = Stream(listener, RATE)
  sizes = []
  for _ in range(6):
    for block in pieces(talk, 4096):
      collected = list(stream.feed(block))
      sizes.append(stream._ring_S.nbytes)
      del collected
  # A window and a segment at the most.
  assert max(sizes) <= 4 * 12 * RATE
  assert stream.seconds == 6 * len(talk) / RATE


def test_who_is_late_hears_the_newest_window(listener, talk):
  whole, _, _ = hear(listener, [talk])
  stream = Stream(listener, RATE)
  late = list(stream.feed(talk[: 4 * RATE + 10], only_newest=True))
  late = [event for event in late if isinstance(event, Window)]
  assert [w.end for w in late] == [4.0]
  assert stream.counts.dropped_windows == 3
  np.testing.assert_allclose(
    late[0].probabilities_C, whole[3].probabilities_C, atol=1e-6
  )


def test_lost_samples_leave_the_clock_right(listener, talk):
  stream = Stream(listener, RATE)
  list(stream.feed(talk[: 2 * RATE]))
  # Somebody was speaking: what he said until then is not lost with the rest.
  (said,) = stream.lose(3 * RATE)
  assert said.start < 1 and len(said.samples_S) > RATE
  assert stream.counts.dropped_windows == 3
  (window, *_) = [
    event for event in stream.feed(talk[:RATE]) if isinstance(event, Window)
  ]
  assert window.end == 6.0
  assert stream.counts.lost == 3.0


def test_what_is_no_number_is_silence(listener, talk):
  broken = talk.copy()
  broken[RATE : 2 * RATE : 2] = np.nan
  broken[RATE + 1 : 2 * RATE : 2] = np.inf
  silent = talk.copy()
  silent[RATE : 2 * RATE] = 0
  found = hear(listener, pieces(broken, 1000))
  same(found[0], hear(listener, [silent])[0])
  assert found[2].counts.not_numbers == pytest.approx(1.0)


def test_clipping_is_counted(listener, talk):
  *_, stream = hear(listener, [np.full(RATE, 3.0), talk])
  assert stream.counts.clipped == pytest.approx(1.0, abs=0.01)


def test_minutes_of_silence_say_nothing(listener):
  windows, speech, _ = hear(listener, [np.zeros(60 * RATE)] * 2)
  assert len(windows) == 120 and not speech
  assert all(w.label == "" and w.probabilities_C is None for w in windows)


def test_nothing_at_all(listener):
  assert hear(listener, [])[:2] == ([], [])
  assert hear(listener, [np.zeros(10)])[:2] == ([], [])


def test_rates_that_no_recording_has(listener):
  with pytest.raises(UserError, match="0 samples a second: give 1000 to"):
    Stream(listener, 0)
