"""Recordings as they are found, named and skipped."""

import dataclasses
import hashlib
import logging

import pytest

from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.errors import UserError


def test_the_best_copy_comes_first(tmp_path):
  names = ["b/c/x.wav", "a/x.mp3", "b/x.flac", "b/a.OGG", "z.wav", "b/._x.wav"]
  for name in [*names, "notes.txt", "b/x.mp4"]:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  found = [str(p.relative_to(tmp_path)) for p in recordings.find(tmp_path)]
  assert found == ["z.wav", "b/a.OGG", "b/x.flac", "b/c/x.wav", "a/x.mp3"]


def test_digests_in_order(tmp_path):
  paths = [str(tmp_path / name) for name in ("a.wav", "missing.wav", "b.wav")]
  for path in (paths[0], paths[2]):
    with open(path, "w", encoding="utf-8") as file:
      file.write(path)
  whole = [Utterance(path, "sad", "A", path) for path in paths]
  parts = [dataclasses.replace(whole[0], end=end) for end in (1.0, 2.0)]
  first, missing, last, one, other = recordings.digests([*whole, *parts])
  assert len({first, one, other}) == 3
  assert first == hashlib.sha256(paths[0].encode()).hexdigest()
  assert last == hashlib.sha256(paths[2].encode()).hexdigest()
  assert isinstance(missing, io.UnreadableAudio)
  assert str(missing) == f"{paths[1]}: no such file"


def test_skips_are_named_up_to_the_limit(caplog):
  skips = recordings.Skips(limit=1, total=9)
  with caplog.at_level(logging.WARNING):
    skips.add(io.UnreadableAudio("a.wav", "an empty file"))
  assert caplog.messages == ["skipped a.wav: an empty file"]
  with pytest.raises(
    UserError, match=r"2 of 9 .*config\.data.max_skipped = 1; .*a.wav: an"
  ):
    skips.add(io.UnreadableAudio("b.wav", "no such file"))
  assert [error.path for error in skips.found] == ["a.wav", "b.wav"]
