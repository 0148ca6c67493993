"""Reading recordings: parity with closed forms, and every way to be broken."""

import hashlib
import os
import pickle
import struct

import numpy as np
import pytest
import soundfile
import soxr

from emojax.audio import io


def _tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
  return 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".aiff"])
def test_types_are_read_as_mono_float32(tmp_path, suffix):
  path = tmp_path / f"tone{suffix}"
  soundfile.write(path, _tone(16_000), 16_000)
  samples = io.read(path, 16_000)
  assert samples.dtype == np.float32
  assert samples.shape == (8_000,)
  np.testing.assert_allclose(samples, _tone(16_000), atol=0.02)


def test_channels_are_averaged(tmp_path):
  left, right = _tone(16_000), _tone(16_000, hertz=700)
  path = tmp_path / "stereo.wav"
  soundfile.write(path, np.stack([left, right], axis=1), 16_000, "FLOAT")
  np.testing.assert_allclose(
    io.read(path, 16_000), (left + right) / 2, atol=1e-6
  )


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_gives_the_same_tone(tmp_path, rate):
  path = tmp_path / "tone.wav"
  soundfile.write(path, _tone(rate), rate, "FLOAT")
  samples = io.read(path, 16_000)
  assert samples.dtype == np.float32
  assert len(samples) == 8_000
  inner = slice(800, -800)  # the resampler rings at the edges
  np.testing.assert_allclose(samples[inner], _tone(16_000)[inner], atol=1e-3)


def test_unusable_recordings_say_why(tmp_path):
  corrupt = tmp_path / "corrupt.wav"
  corrupt.write_bytes(b"RIFF and then nothing that makes sense")
  headerless = tmp_path / "samples.raw"
  headerless.write_bytes(bytes(1000))
  empty = tmp_path / "empty.wav"
  empty.touch()
  none, silent = tmp_path / "none.wav", tmp_path / "silent.wav"
  soundfile.write(none, np.zeros(0), 16_000)
  soundfile.write(silent, np.zeros(1600), 16_000)
  dithered = tmp_path / "dithered.wav"
  steps = np.random.default_rng(0).integers(-1, 2, 1600) / 128
  soundfile.write(dithered, steps, 16_000, "PCM_U8")
  few = tmp_path / "few.wav"
  soundfile.write(few, np.array([0.0, 0.3, 0.1]), 768_000)
  broken, offset = tmp_path / "broken.wav", tmp_path / "offset.wav"
  soundfile.write(broken, np.array([0.1, np.nan, 0.2]), 16_000, "FLOAT")
  soundfile.write(offset, np.full(1600, 0.25), 16_000)
  reasons = {
    corrupt: "not readable as audio",
    headerless: "not readable as audio",
    empty: "empty file",
    none: "zero length",
    silent: "silent",
    offset: "silent",
    dithered: "silent",
    few: "zero length",
    broken: "NaN",
    tmp_path / "missing.wav": "no such file",
    tmp_path: "a folder",
  }
  for path, why in reasons.items():
    with pytest.raises(io.UnreadableAudio, match=why) as caught:
      io.read(path, 16_000)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_bytes_never_escape(tmp_path):
  whole = tmp_path / "whole.ogg"
  soundfile.write(whole, _tone(16_000), 16_000)
  content = whole.read_bytes()
  damaged = tmp_path / "damaged.ogg"
  for seed in range(20):
    rng = np.random.default_rng(seed)
    wrong = bytearray(content)
    for position in rng.integers(0, len(wrong), 40):
      wrong[position] = rng.integers(256)
    damaged.write_bytes(wrong[: rng.integers(1, len(wrong))])
    try:
      assert np.isfinite(io.read(damaged, 16_000)).all()
    except io.UnreadableAudio as error:
      assert error.path == str(damaged)


def test_the_error_survives_the_way_from_a_worker():
  error = pickle.loads(pickle.dumps(io.UnreadableAudio("a.wav", "silent")))
  assert (error.path, error.why, str(error)) == (
    "a.wav",
    "silent",
    "a.wav: silent",
  )


def test_content_hash_is_of_the_bytes(tmp_path):
  path = tmp_path / "a"
  path.write_bytes(b"abc")
  assert io.content_hash(path) == hashlib.sha256(b"abc").hexdigest()
  with pytest.raises(io.UnreadableAudio, match="no such file"):
    io.content_hash(tmp_path / "b")


def test_long_recordings_are_read_in_blocks(tmp_path, monkeypatch):
  samples = _tone(44_100, 2.3) + _tone(44_100, 2.3, 5_000) / 2
  path = tmp_path / "long.wav"
  soundfile.write(path, np.stack([samples, samples / 3], 1), 44_100, "FLOAT")
  at_once = soxr.resample(samples.astype(np.float32) * 2 / 3, 44_100, 16_000)
  for block in (1_000, 1 << 16, 1 << 20):
    monkeypatch.setattr(io, "_BLOCK", block)
    np.testing.assert_allclose(io.read(path, 16_000), at_once, atol=1e-6)


def test_a_header_that_promises_too_much(tmp_path):
  path = tmp_path / "lie.flac"
  soundfile.write(path, _tone(16_000), 16_000)
  content = bytearray(path.read_bytes())
  content[21] |= 0x0F  # STREAMINFO: 36 bits, the number of samples.
  content[22:26] = b"\xff" * 4
  path.write_bytes(content)
  with pytest.raises(io.UnreadableAudio, match="header says 1193 hours"):
    io.read(path, 16_000)


def test_a_name_that_is_no_text(tmp_path):
  path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
  soundfile.write(os.fsencode(path), _tone(16_000), 16_000)
  assert len(io.read(path, 16_000)) == 8_000


def _said(path, caplog, **segment) -> tuple[np.ndarray, str]:
  caplog.clear()
  samples = io.read(path, 16_000, **segment)
  return samples, " ".join(caplog.messages)


def test_segments(tmp_path, caplog):
  for suffix in (".wav", ".flac", ".ogg"):
    path = tmp_path / f"tone{suffix}"
    soundfile.write(path, _tone(16_000, 2.0), 16_000)
    whole = io.read(path, 16_000)
    for start, end in ((0.5, 1.25), (1.5, None), (0, 0.5), (1.5, 2.05)):
      samples, said = _said(path, caplog, start=start, end=end)
      last = 32_000 if end is None else round(16_000 * end)
      expected = whole[round(16_000 * start) : last]
      np.testing.assert_allclose(samples, expected, atol=1e-6)
      assert not said
    for start, end in ((2.0, None), (1.0, 2.5), (1.0, 1.0), (-1.0, 1.0)):
      with pytest.raises(io.UnreadableAudio, match="no segment from"):
        io.read(path, 16_000, start, end)


def _header(path, changes) -> None:
  """Writes a whole WAV with other bytes in its header, by their place."""
  soundfile.write(path, _tone(16_000), 16_000)
  content = bytearray(path.read_bytes())
  for place, value in changes.items():
    content[place : place + len(value)] = value
  path.write_bytes(content)


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    ({24: b"\1\0\0\0"}, "header says 1 samples a second"),
    ({24: b"\0\0\0\x10"}, "header says 268435456 samples a second"),
    ({22: b"\x2c\1"}, "header says 300 channels"),
  ],
)
def test_headers_of_no_recording(tmp_path, changes, why):
  path = tmp_path / "a.wav"
  _header(path, changes)
  with pytest.raises(io.UnreadableAudio, match=why):
    io.read(path, 16_000)


@pytest.mark.parametrize("size", [0, 36, 1000])
@pytest.mark.parametrize("suffix", ["wav", "au", "rf64"])
def test_what_was_never_finished_is_read_to_its_end(
  tmp_path, caplog, suffix, size
):
  path = tmp_path / f"a.{suffix}"
  soundfile.write(path, _tone(16_000), 16_000)
  whole = io.read(path, 16_000)
  content = bytearray(path.read_bytes())
  place, kind = {
    "wav": (content.find(b"data") + 4, "<I"),
    "au": (8, ">I"),
    "rf64": (content.find(b"ds64") + 16, "<Q"),
  }[suffix]
  struct.pack_into(kind, content, place, size)
  path.write_bytes(content)
  samples, said = _said(path, caplog)
  np.testing.assert_array_equal(samples, whole)
  assert "never finished? all 0.50 s to the end of the file are used" in said
  if suffix == "wav":
    path.write_bytes(bytes(content) + b"LIST\4\0\0\0INFO")
    np.testing.assert_array_equal(_said(path, caplog)[0], whole)


def test_what_follows_the_samples_is_no_sound(tmp_path, caplog):
  path = tmp_path / "a.wav"
  soundfile.write(path, _tone(16_000), 16_000)
  content = path.read_bytes()
  chunk = b"id3 " + struct.pack("<I", 40_000) + bytes(40_000)
  for more in (chunk, chunk + b"LIST\4\0\0\0INFO", b"TAG" + bytes(125)):
    path.write_bytes(content + more)
    samples, said = _said(path, caplog)
    assert (len(samples), said) == (8_000, "")
  # Neither where the byte that makes a size even is not there.
  soundfile.write(path, _tone(16_000)[:7_999], 16_000, "PCM_U8")
  content = bytearray(path.read_bytes())
  place = content.find(b"data")
  struct.pack_into("<I", content, place + 4, 7_999)
  more = b"id3 " + struct.pack("<I", 9_001) + bytes(9_001) + chunk
  path.write_bytes(content[: place + 8 + 7_999] + more)
  samples, said = _said(path, caplog)
  assert (len(samples), said) == (7_999, "")
  # An empty recording with a chunk behind it stays one.
  _header(path, {40: bytes(4)})
  path.write_bytes(path.read_bytes()[:44] + chunk)
  with pytest.raises(io.UnreadableAudio, match="zero length"):
    io.read(path, 16_000)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "au", "mp3"])
def test_what_breaks_off_is_used_and_said(tmp_path, caplog, suffix):
  path = tmp_path / f"a.{suffix}"
  soundfile.write(path, _tone(16_000, 4.0), 16_000)
  whole = io.read(path, 16_000)
  assert not caplog.messages
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  samples, said = _said(path, caplog)
  assert 20_000 < len(samples) < 40_000
  np.testing.assert_allclose(samples[:16_000], whole[:16_000], atol=1e-6)
  seconds = f"{len(samples) / 16_000:.2f}"
  assert f"promises 4.00 s, of which the {seconds} s that are there" in said
  # No end of a segment is made up.
  with pytest.raises(io.UnreadableAudio, match=r"breaks off|no segment"):
    io.read(path, 16_000, 1.0, 3.9)


def test_a_stream_whose_length_nobody_knew(tmp_path, caplog):
  path = tmp_path / "a.flac"
  soundfile.write(path, _tone(16_000, 5.0), 16_000)
  whole = io.read(path, 16_000)
  content = bytearray(path.read_bytes())
  content[21] &= 0xF0
  content[22:26] = bytes(4)
  path.write_bytes(content)
  samples, said = _said(path, caplog)
  np.testing.assert_array_equal(samples, whole)
  assert not said


@pytest.mark.parametrize(
  ("times", "why"),
  [
    (1 << 15, r"samples up to 9830.* times full scale: .*int16.* by 32768"),
    (1 << 31, r"range of int32\? divide its samples by 2147483648"),
    (300, r"samples up to 90 times full scale: .* not in -1 to 1\?"),
    (1e30, "samples up to 3e.29 times full scale: damaged"),
    (1e38, "samples up to 3e.37 times full scale: damaged"),
    (3, ""),
  ],
)
def test_samples_in_other_units(tmp_path, caplog, times, why):
  path = tmp_path / "a.wav"
  soundfile.write(path, times * _tone(16_000), 16_000, "FLOAT")
  if why:
    with pytest.raises(io.UnreadableAudio, match=why):
      io.read(path, 16_000)
  else:
    np.testing.assert_allclose(io.read(path, 16_000), 3 * _tone(16_000), 1e-4)


def test_channels_that_cancel_out(tmp_path, caplog):
  path = tmp_path / "a.wav"
  for gain in (1.0, 0.93):
    stereo = np.stack([_tone(16_000), -gain * _tone(16_000)], 1)
    soundfile.write(path, stereo, 16_000, "FLOAT")
    samples, said = _said(path, caplog)
    np.testing.assert_allclose(samples, _tone(16_000), atol=1e-6)
    assert "channels cancel out (opposite phase): channel 1 is read" in said


def test_channels_cancel_out_after_a_quiet_beginning(tmp_path, caplog):
  """Piece by piece nothing is heard for a while."""
  path = tmp_path / "a.wav"
  tone = _tone(16_000)
  left = np.concatenate([np.full(70_000, 1 / 32768), tone])
  left[1:70_000:2] = 0
  soundfile.write(path, np.stack([left, -left], 1), 16_000)
  found = np.concatenate(list(io.blocks(path)))
  assert "channels cancel out" in caplog.text
  np.testing.assert_allclose(found[-len(tone) :], tone, atol=1e-4)


def test_what_is_odd_is_said(tmp_path, caplog):
  path = tmp_path / "a.wav"
  for samples, why in (
    (np.clip(20 * _tone(16_000), -1, 1), "% of its samples are at full scale"),
    (_tone(16_000) / 2 + 0.5, "constant offset of 0.50 of full scale"),
    (6 * _tone(16_000), "samples up to 1.8 times full scale"),
    (3 * _tone(16_000), ""),
  ):
    soundfile.write(path, samples, 16_000, "FLOAT")
    assert why in _said(path, caplog)[1]
    assert bool(why) == bool(caplog.messages)


def test_no_file_at_all(tmp_path):
  pipe = tmp_path / "a.wav"
  os.mkfifo(pipe)
  with pytest.raises(io.UnreadableAudio, match="a pipe, socket or device"):
    io.read(pipe, 16_000)
  for name in (tmp_path / "b\0.wav", tmp_path / ("x" * 300)):
    with pytest.raises(io.UnreadableAudio):
      io.read(name, 16_000)


def test_other_types_say_how_to_convert(tmp_path):
  for name, content, why in (
    ("memo.m4a", b"no audio", r"of type \.m4a: convert it.*ffmpeg"),
    ("memo.wav", bytes(4) + b"ftypM4A ", "an MP4 or M4A file: convert"),
    (
      "page.wav",
      b"\n<!DOCTYPE html>",
      "a page of a web site, not the file itself",
    ),
  ):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(io.UnreadableAudio, match=why):
      io.read(tmp_path / name, 16_000)


def test_an_ogg_file_that_ends_too_early(tmp_path, caplog):
  path, more = tmp_path / "a.ogg", tmp_path / "b.ogg"
  samples = np.random.default_rng(0).uniform(-0.5, 0.5, 96_000)
  for name in (path, more):
    soundfile.write(name, samples, 16_000)
  content = path.read_bytes()
  path.write_bytes(content[: len(content) * 2 // 3])
  read, said = _said(path, caplog)
  assert 16_000 < len(read) < 80_000
  assert "cut short? its last page is not marked as the end" in said
  other = bytearray(more.read_bytes())
  place = -1
  while (place := other.find(b"OggS", place + 1)) >= 0:
    other[place + 14] ^= 1
  path.write_bytes(content + other)
  assert (
    "several recordings in one file? only the first" in _said(path, caplog)[1]
  )


def test_an_mp3_whose_length_is_estimated(tmp_path, caplog):
  path = tmp_path / "a.mp3"
  samples = np.concatenate([np.zeros(48_000), _tone(16_000, 3.0)])
  soundfile.write(
    path, samples, 16_000, bitrate_mode="VARIABLE", compression_level=0.5
  )
  content = path.read_bytes()
  place = content.find(content[:2], content.find(b"Xing") + 4)
  path.write_bytes(content[place:])
  read, said = _said(path, caplog)
  assert len(read) == pytest.approx(96_000, abs=4_000)
  assert not said
