"""Backgrounds and room responses on disk."""

import pickle

import numpy as np
import pytest
import soundfile

from emojax.audio import backgrounds
from emojax.audio.backgrounds import Backgrounds, load_responses
from emojax.errors import UserError

RATE = 16_000


def _write(path, samples, rate=RATE):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate, "FLOAT")


def _constant(value, num_samples=4_000):
  return np.full(num_samples, value)


def test_kinds_of_musan_are_as_likely(tmp_path):
  for number in range(20):
    _write(tmp_path / f"noise/a/{number}.wav", _constant(0.1))
  _write(tmp_path / "speech/b/c.flac.wav", _constant(0.2))
  _write(tmp_path / "speech/.hidden.wav", _constant(0.4))
  (tmp_path / "music").mkdir()
  backgrounds = pickle.loads(pickle.dumps(Backgrounds(tmp_path)))
  rng = np.random.default_rng(0)
  found = [backgrounds.excerpt(rng, 10)[0] for _ in range(300)]
  np.testing.assert_allclose(np.unique(found), [0.1, 0.2], rtol=1e-6)
  assert abs(np.mean(np.isclose(found, 0.2)) - 0.5) < 4 * 0.5 / np.sqrt(300)


def test_excerpts_are_parts_of_a_recording(tmp_path):
  _write(tmp_path / "long.wav", np.arange(5_000) / 5_000)
  backgrounds = Backgrounds(tmp_path)
  rng = np.random.default_rng(0)
  starts = set()
  for _ in range(20):
    excerpt = backgrounds.excerpt(rng, 100)
    assert excerpt.dtype == np.float32
    np.testing.assert_allclose(np.diff(excerpt), 1 / 5_000, atol=1e-6)
    starts.add(round(5_000 * float(excerpt[0])))
  assert len(starts) > 15
  same = [Backgrounds(tmp_path).excerpt(np.random.default_rng(1), 50)] * 2
  np.testing.assert_array_equal(*same)


def test_large_folders_are_read_in_parts(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  _write(tmp_path / "a.wav", rng.normal(size=5_000))
  in_memory = Backgrounds(tmp_path)
  monkeypatch.setattr(backgrounds, "_HELD_SECONDS", 0)
  from_disk = Backgrounds(tmp_path)
  for seed in range(5):
    np.testing.assert_array_equal(
      in_memory.excerpt(np.random.default_rng(seed), 700),
      from_disk.excerpt(np.random.default_rng(seed), 700),
    )


def test_a_recording_whose_header_does_not_say_its_length(
  tmp_path, monkeypatch, caplog
):
  """Held it serves as any other; of a large folder no part could be drawn."""
  _write(tmp_path / "a.wav", _constant(0.25))
  path = tmp_path / "b.flac"
  soundfile.write(path, _constant(0.5), RATE)
  content = bytearray(path.read_bytes())
  # The number of samples: 36 bits of STREAMINFO, RFC 9639, section 8.2.
  content[21] &= 0xF0
  content[22:26] = bytes(4)
  path.write_bytes(content)

  def levels():
    rng, folder = np.random.default_rng(0), Backgrounds(tmp_path)
    return {float(folder.excerpt(rng, 10)[5]) for _ in range(20)}

  assert levels() == {0.25, 0.5}
  monkeypatch.setattr(backgrounds, "_HELD_SECONDS", 0.4)  # One has 0.25 s.
  assert levels() == {0.25}
  assert "b.flac: its header does not say how long it is" in caplog.text


def test_short_recordings_are_repeated(tmp_path):
  ramp = np.arange(30) / 100
  _write(tmp_path / "short.wav", np.stack([ramp, ramp + 0.2], 1))
  excerpt = Backgrounds(tmp_path).excerpt(np.random.default_rng(0), 75)
  np.testing.assert_allclose(excerpt, np.resize(ramp + 0.1, 75), atol=1e-6)


def test_other_rates_are_resampled(tmp_path):
  time = np.arange(48_000) / 48_000
  _write(tmp_path / "tone.wav", np.sin(2 * np.pi * 500 * time), 48_000)
  excerpt = Backgrounds(tmp_path).excerpt(np.random.default_rng(0), 1_600)
  assert excerpt.shape == (1_600,)
  assert np.abs(np.fft.rfft(excerpt)).argmax() == 50


def test_folders_without_audio_say_where_to_get_some(tmp_path):
  with pytest.raises(UserError, match=r"no such folder.*openslr"):
    Backgrounds(tmp_path / "missing")
  (tmp_path / "noise").mkdir()
  (tmp_path / "noise" / "LICENSE").touch()
  with pytest.raises(UserError, match=r"no audio.*openslr"):
    Backgrounds(tmp_path)
  with pytest.raises(UserError, match="no room impulse responses"):
    load_responses(tmp_path, RATE, 100)


def test_damaged_recordings_are_named(tmp_path, caplog):
  path = tmp_path / "damaged.wav"
  path.write_bytes(b"RIFF and nothing else")
  with pytest.raises(UserError, match=r"damaged\.wav.*remove it"):
    Backgrounds(tmp_path)
  with pytest.raises(UserError, match=r"damaged\.wav"):
    load_responses(tmp_path, RATE, 100)
  # A rate of 1 Hz would take all memory.
  _write(path, np.full(RATE, 0.1))
  content = bytearray(path.read_bytes())
  content[24:28] = b"\1\0\0\0"
  path.write_bytes(content)
  for read in (Backgrounds, lambda folder: load_responses(folder, RATE, 100)):
    with pytest.raises(UserError, match="header says 1 samples a second"):
      read(tmp_path)
  soundfile.write(path, np.full(RATE, 3e4), RATE, subtype="FLOAT")
  with pytest.raises(UserError, match=r"range of int16.*backgrounds"):
    Backgrounds(tmp_path)
  # With a good one beside it, it is named and left out.
  _write(tmp_path / "noise.wav", np.full(RATE, 0.1))
  excerpt = Backgrounds(tmp_path).excerpt(np.random.default_rng(0), 9)
  np.testing.assert_allclose(excerpt, 0.1, atol=1e-3)
  assert any("skipped" in m and "damaged.wav" in m for m in caplog.messages)
  # A stream whose header does not say how long it is.
  soundfile.write(tmp_path / "noise.flac", np.full(RATE, 0.1), RATE)
  content = bytearray((tmp_path / "noise.flac").read_bytes())
  content[21] &= 0xF0
  content[22:26] = bytes(4)
  (tmp_path / "noise.flac").write_bytes(content)
  (tmp_path / "noise.wav").unlink()
  excerpt = Backgrounds(tmp_path).excerpt(np.random.default_rng(0), RATE)
  np.testing.assert_allclose(excerpt, 0.1, atol=1e-2)


def test_responses_begin_with_the_direct_sound(tmp_path):
  response = np.zeros(500)
  response[100], response[150], response[30] = -3 / 8, 0.5 / 8, 1 / 8
  _write(tmp_path / "a.wav", response)
  _write(tmp_path / "b.wav", np.r_[0.5, np.zeros(20)])
  got = load_responses(tmp_path, RATE, 60)
  assert got.shape == (2, 60) and got.dtype == np.float32
  assert got[0, 50] == pytest.approx(-got[0, 0] / 6)
  np.testing.assert_allclose((got**2).sum(axis=1), 1, rtol=1e-5)


def test_of_many_responses_some_are_drawn(tmp_path, monkeypatch):
  """The same each time; what is not drawn is not read."""
  for number in range(12):
    _write(tmp_path / f"{number:02}.wav", np.r_[0.9, np.full(3, number / 20)])
  everything = load_responses(tmp_path, RATE, 4)
  assert len(everything) == 12
  monkeypatch.setattr(backgrounds, "_MOST_RESPONSES", 5)
  found = load_responses(tmp_path, RATE, 4)
  assert found.shape == (5, 4)
  rows = [int(np.abs(everything - one).sum(1).argmin()) for one in found]
  np.testing.assert_array_equal(found, everything[rows])
  assert len(set(rows)) == 5 and rows == sorted(rows) != list(range(5))
  for number in set(range(12)) - set(rows):
    (tmp_path / f"{number:02}.wav").write_bytes(b"no audio at all")
  np.testing.assert_array_equal(load_responses(tmp_path, RATE, 4), found)
