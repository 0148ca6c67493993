"""The probe finds speakers, only speakers, and at chance none."""

import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emojax.reports.speaker_probe import _folds, probed_speakers, speaker_probe


def conversations(num_dialogues=40, num_speakers=6, num_utterances=1200):
  """Names of speakers and dialogues; pairs of speakers talk to each other."""
  rng = np.random.default_rng(0)
  dialogue = rng.integers(num_dialogues, size=num_utterances)
  pair = dialogue % (num_speakers // 2)
  speaker = 2 * pair + rng.integers(2, size=num_utterances)
  return np.char.add("s", speaker.astype(str)), np.char.add(
    "d", dialogue.astype(str)
  )


def codes(names: np.ndarray) -> np.ndarray:
  """`[N, V]`, a random code of 20 numbers for each of V names."""
  unique, index = np.unique(names, return_inverse=True)
  return np.random.default_rng(1).normal(size=(len(unique), 20))[index]


def noise(size: int, scale: float = 1.0) -> np.ndarray:
  return np.random.default_rng(2).normal(scale=scale, size=(size, 20))


def test_separable_speakers_are_all_found():
  speaker, dialogue = conversations()
  representation = codes(speaker) + noise(len(speaker), 0.1)
  assert speaker_probe(representation, speaker, dialogue, 0) == 1.0


def test_noise_is_at_chance():
  speaker, dialogue = conversations()
  accuracy = speaker_probe(noise(len(speaker)), speaker, dialogue, 0)
  assert abs(accuracy - 1 / 6) < 0.04


def test_dialogue_is_not_rewarded():
  """The dialogue gives the pair away; a new dialogue says nothing."""
  speaker, dialogue = conversations()
  representation = codes(dialogue) + noise(len(speaker), 0.1)
  assert speaker_probe(representation, speaker, dialogue, 0) < 1 / 6 + 0.08
  # Cross-validated by utterance, it would have passed for the speaker.
  utterances = np.arange(len(speaker))
  assert speaker_probe(representation, speaker, utterances, 0) > 1 / 3


def test_of_many_speakers_those_are_probed_who_say_most():
  # Speaker 30 says most and is in one dialogue only.
  count_S = np.arange(4, 31)
  speaker = np.repeat([f"s{count:02d}" for count in count_S], count_S)
  dialogue = np.arange(len(speaker)) % 2
  dialogue[speaker == "s30"] = 0
  expected = [f"s{count:02d}" for count in range(6, 30)]
  assert probed_speakers(speaker, dialogue) == expected


def test_each_speaker_weighs_the_same():
  """Always naming the speaker with nine tenths of the speech is chance."""
  rng = np.random.default_rng(0)
  speaker = np.where(rng.random(1000) < 0.9, "much", "little")
  dialogue = rng.integers(20, size=1000)
  accuracy = speaker_probe(np.zeros((1000, 3)), speaker, dialogue, 0)
  assert accuracy == 0.5


def test_isolated_clips_are_dialogues_of_one():
  speaker = np.repeat(["a", "b", "c"], 30)
  representation = codes(speaker) + noise(90, 0.1)
  assert speaker_probe(representation, speaker, np.arange(90), 0) == 1.0


def test_speaker_of_one_dialogue_is_left_out():
  speaker, dialogue = conversations()
  representation = codes(speaker) + noise(len(speaker))
  more = speaker_probe(
    np.concatenate([representation, np.full((9, 20), 50.0)]),
    np.concatenate([speaker, np.repeat("guest", 9)]),
    np.concatenate([dialogue, np.repeat("d0", 9)]),
    0,
  )
  assert more == speaker_probe(representation, speaker, dialogue, 0)


@pytest.mark.parametrize("speaker", [["a", "a", "a"], ["a", "a", "b"]])
def test_nothing_to_probe_is_none(speaker):
  assert speaker_probe(np.eye(3), speaker, ["1", "2", "2"], 0) is None


def test_seeded():
  speaker, dialogue = conversations()
  representation = 0.3 * codes(speaker) + noise(len(speaker))
  first, second, third = (
    speaker_probe(representation, speaker, dialogue, seed) for seed in (0, 0, 1)
  )
  assert first == second != third
  assert abs(first - third) < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_each_tested_speaker_was_trained(seed):
  """Also where most speakers are in two or three dialogues only."""
  rng = np.random.default_rng(seed)
  dialogue = rng.integers(15, size=120)
  casts = rng.permuted(np.tile(np.arange(8), (15, 1)), axis=1)[:, :2]
  speaker = casts[dialogue, rng.integers(2, size=120)]
  fold = _folds(speaker, dialogue, seed)
  for name in np.unique(speaker):
    of_speaker = speaker == name
    if len(np.unique(dialogue[of_speaker])) >= 2:
      assert len(np.unique(fold[of_speaker])) >= 2
  for name in np.unique(dialogue):
    assert len(np.unique(fold[dialogue == name])) == 1


def test_folds_are_about_even():
  speaker, dialogue = conversations()
  sizes = np.bincount(_folds(speaker, dialogue, 0))
  assert len(sizes) == 5 and sizes.min() > 0.75 * sizes.mean()


def test_agrees_with_scikit_learns_folds_and_a_converged_classifier():
  speaker, dialogue = conversations()
  representation = 0.3 * codes(speaker) + noise(len(speaker))
  predictions = cross_val_predict(
    make_pipeline(
      StandardScaler(), LogisticRegression(tol=1e-8, max_iter=9999)
    ),
    representation,
    speaker,
    groups=dialogue,
    cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
  )
  np.testing.assert_allclose(
    speaker_probe(representation, speaker, dialogue, 0),
    balanced_accuracy_score(speaker, predictions),
    atol=0.03,
  )


def test_iemocap_size_is_quick():
  rng = np.random.default_rng(0)
  dialogue = np.sort(rng.integers(151, size=5531))
  speaker = 2 * (dialogue * 5 // 151) + rng.integers(2, size=5531)
  offsets = rng.normal(scale=0.15, size=(10, 100))
  representation = rng.normal(size=(5531, 100)) + offsets[speaker]
  start = time.process_time()
  accuracy = speaker_probe(representation, speaker, dialogue, 0)
  assert 0.4 < accuracy < 0.9
  assert time.process_time() - start < 10  # Half a second on a quiet core.
