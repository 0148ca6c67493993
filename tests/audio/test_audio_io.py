"""Reading recordings: parity with closed forms, and every way to be broken."""

import hashlib
import os
import pickle

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
    broken: "NaN",
    tmp_path / "missing.wav": "no such file",
    tmp_path: "no such file",
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
  with pytest.raises(io.UnreadableAudio, match="not readable"):
    io.read(path, 16_000)


def test_a_name_that_is_no_text(tmp_path):
  path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
  soundfile.write(os.fsencode(path), _tone(16_000), 16_000)
  assert len(io.read(path, 16_000)) == 8_000
