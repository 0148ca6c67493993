"""Detection of noise against scikit-learn, and where it is undefined."""

import numpy as np
import pytest
from sklearn import metrics

from configs import rlps as rlps_config
from emojax.reports import rlps
from emojax.summary import System


@pytest.mark.parametrize("num_values", [3, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_scikit_learn_agrees(seed, num_values):
  """Three different probabilities: nearly all pairs are ties or not."""
  rng = np.random.default_rng(seed)
  noisy_N = rng.random(500) < 0.3
  probability_N = np.clip(rng.normal(0.6 - 0.3 * noisy_N, 0.3), 0, 1)
  probability_N = np.rint(probability_N * num_values) / num_values
  retained_N = probability_N >= 0.5
  assert rlps.noise_detection(
    probability_N, retained_N, noisy_N
  ) == pytest.approx(
    {
      "auc": metrics.roc_auc_score(noisy_N, -probability_N),
      "precision": metrics.precision_score(noisy_N, ~retained_N),
      "recall": metrics.recall_score(noisy_N, ~retained_N),
      "removed": np.mean(~retained_N),
    },
    rel=1e-12,
  )


def test_every_tie_counts_half():
  result = rlps.noise_detection(np.full(4, 0.9), np.ones(4), np.arange(4) < 1)
  assert result["auc"] == 0.5


def test_noise_below_all_else_is_one():
  probability_N = np.asarray([0.1, 0.2, 0.8, 0.9])
  retained_N, noisy_N = probability_N > 0.5, probability_N < 0.5
  result = rlps.noise_detection(probability_N, retained_N, noisy_N)
  expected = {"auc": 1.0, "precision": 1.0, "recall": 1.0, "removed": 0.5}
  assert result == expected


def test_all_is_kept():
  result = rlps.noise_detection(
    np.arange(4), np.ones(4, bool), np.arange(4) < 2
  )
  expected = {"auc": 1.0, "precision": None, "recall": 0.0, "removed": 0.0}
  assert result == expected


@pytest.mark.parametrize(("all_noise", "found"), [(False, 0.0), (True, 1.0)])
def test_all_is_noise_or_nothing(all_noise, found):
  result = rlps.noise_detection(
    np.arange(4), np.arange(4) > 0, np.full(4, all_noise)
  )
  assert result["auc"] is None
  assert result["precision"] == found
  assert result["recall"] == (0.25 if all_noise else None)
  assert result["removed"] == 0.25


@pytest.mark.parametrize(
  ("systems", "pairs"),
  [
    ("none", []),
    ("none rlps_s", ["rlps_s none"]),
    ("none sigmoid", ["sigmoid none"]),
    ("none rlps", ["rlps none"]),
    (
      "none rlps rlps_s",
      ["rlps rlps_s", "rlps none", "rlps_s none"],
    ),
    (
      "none rlps rlps_s small_loss",
      [
        *("rlps rlps_s", "rlps none", "rlps small_loss"),
        *("rlps_s none", "rlps_s small_loss", "small_loss none"),
      ],
    ),
    ("sigmoid rlps_s", ["rlps_s sigmoid"]),
  ],
)
def test_every_selector_is_compared_with_the_classifier_alone(systems, pairs):
  expected = [tuple(pair.split()) for pair in pairs]
  assert rlps._pairs(systems.split()) == expected


@pytest.mark.parametrize(
  ("systems", "floor", "said"),
  [
    ("none", 0.0, []),
    ("none rlps_s", 0.5, ["of RLPS_S retains who"]),
    ("none rlps", 0.0, ["of RLPS retains who"]),
    (
      "rlps rlps_s small_loss random",
      0.5,
      [
        "of RLPS, RLPS_S retains who",
        "Of each class RLPS retain 50 % at least",
        "and of any class: SMALL_LOSS, RANDOM.",
      ],
    ),
  ],
)
def test_notes_are_of_the_systems_that_they_are_true_of(
  make_summary, systems, floor, said
):
  config = rlps_config.get_config()
  config.retention_floor = floor
  ids = systems.split()
  summary = make_summary(systems=[System(one, one.upper()) for one in ids])
  learned = [one for one in ids if one == "rlps"]
  outcomes = {("s", one): [] for one in ids}
  _, *notes = rlps._notes(config, outcomes, summary, learned)
  assert len(notes) == len(said)
  for note, part in zip(notes, said, strict=True):
    assert part in note


def test_what_is_published_of_the_selection_may_be_something_else(make_summary):
  config = rlps_config.get_config("noise_rafdb")
  notes = [*rlps._notes(config, {}, make_summary(), ())]
  assert "the mean of the policy's probabilities" in notes[-1]


def test_retention_of_groups():
  retained_N = np.asarray([1, 1, 0, 0, 1, 0])
  groups_N = np.asarray([2, 0, 0, 0, 2, 0], np.int8)
  names = ("full", "half", "none")
  assert rlps.retention(retained_N, groups_N, names) == {
    "full": 0.25,
    "none": 1.0,
  }
