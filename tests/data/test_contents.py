"""What recordings hold: kept where it could be read, and only there."""

import numpy as np
import pytest
import soundfile

from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.data import contents


@pytest.fixture
def recording(tmp_path):
  """An utterance, its digest and its samples."""
  samples = np.random.default_rng(0).integers(-900, 900, 800, np.int16)
  path = tmp_path / "a.wav"
  soundfile.write(path, samples, contents.SAMPLE_RATE, subtype="PCM_16")
  utterances = [Utterance(str(path), "sad", "A", "a")]
  return utterances, recordings.digests(utterances), samples


def _fail(path, *_):
  raise io.UnreadableAudio(path, "Input/output error")


def test_read_once(recording, tmp_path, monkeypatch):
  utterances, digests, samples = recording
  found = contents.fingerprints(utterances, digests, tmp_path / "cache")
  assert found == [io.fingerprint(samples)]
  monkeypatch.setattr(io, "decode", _fail)
  assert contents.fingerprints(utterances, digests, tmp_path / "cache") == found


def test_a_failure_is_not_kept(recording, tmp_path, monkeypatch):
  utterances, digests, samples = recording
  with monkeypatch.context() as patched:
    patched.setattr(io, "decode", _fail)
    for _ in range(2):
      assert contents.fingerprints(utterances, digests, tmp_path) == [""]
  found = contents.fingerprints(utterances, digests, tmp_path)
  assert found == [io.fingerprint(samples)]


def test_nor_is_one_of_an_older_cache(recording, tmp_path):
  """Which had a vector without a value in its place."""
  utterances, digests, samples = recording
  contents.kept(tmp_path).put(digests[0], np.zeros(0, np.float32))
  found = contents.fingerprints(utterances, digests, tmp_path)
  assert found == [io.fingerprint(samples)]
