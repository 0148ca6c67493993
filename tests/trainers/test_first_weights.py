"""Who of one run is whom of another one."""

import dataclasses

import numpy as np
import pytest

from emojax.data.clips import Clips
from emojax.data.splits import Split
from emojax.errors import UserError
from emojax.trainers import first_weights


def make_clips(corpus, *of_clips):
  """A clip each of speaker and recording."""
  values = {field.name: None for field in dataclasses.fields(Clips)}
  speakers, digests = (np.array(of) for of in zip(*of_clips, strict=True))
  return Clips(
    **values
    | {
      "speaker_U": speakers,
      "digest_U": digests,
      "name_U": digests,
      "corpus_U": np.full(len(speakers), corpus),
    }
  )


THEIRS = make_clips("meld", ("meld:Joey", "a"), ("meld:Joey & meld:Ross", "b"))


@pytest.mark.parametrize(
  ("ours", "expected"),
  [
    # The same corpus: by name, wherever they speak; Monica is not there.
    (
      make_clips("meld", ("Ross", "c"), ("Joey & Monica", "d")),
      {"Ross": {"meld:Ross"}, "Joey": {"meld:Joey"}, "Monica": set()},
    ),
    # Another one: by a recording of one alone.
    (
      make_clips("manifest", ("p1", "a"), ("p2 & p3", "b"), ("Ross", "c")),
      {"p1": {"meld:Joey"}},
    ),
  ],
)
def test_speakers_are_found_by_name_or_by_a_recording(ours, expected):
  assert first_weights._called(ours, THEIRS) == expected


def test_of_official_parts_recordings_are_compared():
  """The same people are in all of them."""
  ours = make_clips("meld", ("Joey", "a"), ("Joey", "c"))
  called = first_weights._called(ours, THEIRS)
  nobody = np.array([], int)
  rows = {"train": np.array([0, 1]), "validation": nobody, "test": nobody}
  theirs = dataclasses.replace(THEIRS, splits={"official": Split(rows, True)})
  taught = first_weights._Taught("runs/a", theirs, "official")
  for row, met in ((1, False), (0, True)):
    parts = {**rows, "train": nobody, "test": np.array([row])}
    data = dataclasses.replace(ours, splits={"official": Split(parts, True)})
    if met:
      with pytest.raises(UserError, match="recording a, of the test part"):
        first_weights._check_apart(data, called, taught)
    else:
      first_weights._check_apart(data, called, taught)
