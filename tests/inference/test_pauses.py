"""Segments of speech, by the frame."""

from emojax.inference import pauses
from emojax.inference.pauses import Pauses, Span


def found_in(probabilities):
  finder, spans = Pauses(), []
  for probability in probabilities:
    if span := finder.add(probability):
      spans.append(span)
  if span := finder.finish():
    spans.append(span)
  return spans


def test_a_pause_ends_a_segment():
  # 0.2 s (6 frames) before and after what is heard.
  signal = [0.0] * 20 + [0.9] * 30 + [0.0] * 40 + [0.9] * 20 + [0.0] * 3
  assert found_in(signal) == [Span(14, 56), Span(84, 113)]


def test_short_pauses_and_doubtful_frames_end_none():
  signal = [0.9] * 20 + [0.0] * 15 + [0.4] * 10 + [0.0] * 15 + [0.9] * 20
  assert found_in(signal) == [Span(0, 80)]
  # Doubtful frames begin none, either.
  assert found_in([0.4] * 100) == []


def test_clicks_are_no_speech():
  assert found_in([0.0] * 20 + [0.9] * 7 + [0.0] * 40) == []
  assert found_in([0.0] * 20 + [0.9] * 8 + [0.0] * 40) == [Span(14, 34)]


def test_padding_never_overlaps_the_segment_before():
  signal = [0.9] * 20 + [0.0] * 17 + [0.9] * 20 + [0.0] * 40
  first, second = found_in(signal)
  assert first.stop <= second.start


def test_a_cut_in_a_pause_leaves_no_silence_behind():
  # The frame of least speech is after the last one of speech, or long after.
  for least in (298, 300, 304, 311):
    signal = [0.9] * 297 + [0.2] * 15 + [0.2] * 40
    signal[least] = 0.01
    assert found_in(signal) == [Span(0, min(least + 1, 303))]
    # Whoever speaks next has a segment that does not overlap this one.
    first, second = found_in(signal[:314] + [0.9] * 20 + [0.0] * 40)
    assert first.stop <= second.start < second.stop == 314 + 20 + 6
  # What is left after a cut before the pause is counted as what it is.
  signal = [0.9] * 292 + [0.36] + [0.9] * 4 + [0.2] * 55
  signal[292] = 0.1
  assert found_in(signal) == [Span(0, 293)]


def test_what_is_too_long_is_cut_where_speech_is_least_likely():
  signal = [0.9] * 700
  signal[290] = 0.36
  first, *rest = found_in(signal)
  assert first == Span(0, 291)
  assert all(s.stop - s.start <= pauses.LONGEST for s in (first, *rest))
  # Nothing is lost between the parts.
  stops = [first.stop, *(span.stop for span in rest)]
  assert [span.start for span in rest] == stops[:-1]
  assert stops[-1] == 700
