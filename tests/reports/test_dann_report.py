"""Which systems of a DANN study are compared, and over whom."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from configs import dann as dann_config
from emojax import metrics
from emojax import summary as summaries
from emojax.reports import dann, folds
from emojax.summary import System

NORM = "_speaker_norm"
SPEAKER_U = np.repeat([*"abcdefgh"], 6)
CLASS_U = np.tile([0, 1, 2], 16)
NAME_U = np.arange(len(CLASS_U)).astype(str)
# A dialogue each: no probe.
UTTERANCES = dann.Utterances(
  ("angry", "happy", "sad"), CLASS_U, SPEAKER_U, SPEAKER_U, SPEAKER_U, NAME_U
)


def trained(setting: str, id_: str, tested_U, num_runs: int) -> dann.Trained:
  """Runs of one epoch that are right in two thirds of the cases."""
  rng = np.random.default_rng([*f"{setting}{id_}".encode()])
  is_baseline = id_ in ("svm", "ridge")
  num_runs = 1 if is_baseline else num_runs
  wrong_RxU = rng.random((num_runs, len(CLASS_U))) < 1 / 3
  logits_RxUxC = np.eye(3)[(CLASS_U + wrong_RxU) % 3]
  target_U = np.where(tested_U, CLASS_U, -1)
  confusion_RxCxC = np.stack(
    [
      metrics.confusion_counts(o[tested_U], CLASS_U[tested_U])
      for o in logits_RxUxC
    ]
  )
  points = None if is_baseline else np.zeros((1, len(CLASS_U), 2))
  history = {"confusion_matrix": confusion_RxCxC[:, None]}
  return dann.Trained(
    setting, System(id_, id_), history, target_U, logits_RxUxC, points
  )


def summary(found, utterances=UTTERANCES, **changes) -> summaries.Summary:
  config = dann_config.get_config()
  config.update_from_flattened_dict(changes)
  kept = dann.Kept(found[0].setting, found[0].system, 1.0, {})
  return dann.results(config, utterances, found, {}, kept)[0]


@pytest.mark.parametrize("num_runs", [1, 2])
def test_baselines_are_compared_over_speakers(num_runs):
  """They are trained once, and so have no runs to be paired."""
  everyone = np.ones(len(SPEAKER_U), bool)
  ids = ("c1", "dann", "svm", "ridge")
  found = summary([trained("few", id_, everyone, num_runs) for id_ in ids])
  over_speakers = {
    (one.a, one.b)
    for one in found.comparisons
    if one.test == summaries.OVER_SPEAKERS and one.p_value is not None
  }
  with_baselines = {
    *(("svm", "c1"), ("ridge", "c1"), ("dann", "svm"), ("dann", "ridge")),
  }
  assert over_speakers == with_baselines | {("dann", "c1")}
  over_runs = {
    (one.a, one.b)
    for one in found.comparisons
    if one.test == summaries.SIGN_FLIPS and one.p_value is not None
  }
  assert over_runs == ({("dann", "c1")} if num_runs > 1 else set())


def pairs(*ids: str) -> list[str]:
  found = dann._pairs(ids)
  assert len(set(found)) == len(found)
  return [" ".join(pair) for pair in found]


def test_all_folds_together_are_a_setting():
  """Run by run, with all speakers; there are three in a fold, too few."""
  parts = {"few": SPEAKER_U < "d", "many": SPEAKER_U >= "d"}
  runs = [
    trained(setting, id_, tested_U, 2)
    for setting, tested_U in parts.items()
    for id_ in ("c1", "dann", "svm")
  ]
  found = summary(runs)
  assert found.settings == ["few", "many", folds.ALL]
  for system in ("c1", "dann", "svm"):
    row = found.row(folds.ALL, system)
    of_system = [one for one in runs if one.system.id == system]
    for run, value in enumerate(row.metrics["unweighted_accuracy"].runs):
      right_U = np.zeros(len(CLASS_U), int)
      for one in of_system:
        tested_U = one.target_U >= 0
        right_U[tested_U] = one.logits_RxUxC[run, tested_U].argmax(1)
      assert value == pytest.approx(balanced_accuracy_score(CLASS_U, right_U))
    assert sorted(row.groups[summaries.SPEAKERS]) == [*"abcdefgh"]
    assert row.metrics["unweighted_accuracy"].ci95_speakers
    assert not row.oracle
  over_speakers = {
    (one.setting, one.a, one.b)
    for one in found.comparisons
    if one.test == summaries.OVER_SPEAKERS
  }
  pairs = {("dann", "c1"), ("svm", "c1"), ("dann", "svm")}
  assert over_speakers >= {(folds.ALL, *pair) for pair in pairs}
  assert ("few", "dann", "c1") not in over_speakers


def test_settings_of_one_test_part_are_no_folds():
  """As the training settings of IEMOCAP, which all test session 5."""
  tested_U = SPEAKER_U < "d"
  runs = [trained(setting, "c1", tested_U, 2) for setting in ("few", "many")]
  assert summary(runs).settings == ["few", "many"]


def test_the_test_part_is_known_by_its_utterances():
  """And so `emojax report` pairs the runs of two studies of it."""
  first = SPEAKER_U < "d"

  def digest(tested_U, id_="c1", utterances=UTTERANCES):
    found = [trained("few", id_, tested_U, 2)]
    return summary(found, utterances=utterances).test_digest

  found = digest(first)
  assert found == digest(first, "dann")
  assert found != digest(~first)
  # In whatever order they are read.
  backwards = UTTERANCES._replace(identity_U=NAME_U[::-1])
  assert digest(first[::-1], utterances=backwards) == found


def test_everything_is_compared_with_c1():
  assert pairs("c1", "dann", "c1_s", "dann_s") == [
    *("dann c1", "c1_s c1", "dann_s c1", "dann_s c1_s"),
  ]
  assert pairs("c1_s", "dann_s") == ["dann_s c1_s"]
  assert pairs("c1") == []


def test_several_lambdas_of_one_normalisation():
  """Of either: with z-scores by speaker alone there is no other C1."""
  for end in ("", NORM):
    ids = [f"{one}{end}" for one in ("c1", "dann_0.1", "dann_0.3")]
    assert pairs(*ids) == [f"{one} c1{end}" for one in ids[1:]]


def test_both_normalisations():
  """Each system beside the C1 of its own features, and the plain C1."""
  both = ["c1", "dann_0.1", "c1_s", "dann_s"]
  found = pairs(*both, *(f"{one}{NORM}" for one in both))
  assert found == [
    *("dann_0.1 c1", "c1_s c1", "dann_s c1", "dann_s c1_s"),
    *(f"{one}{NORM} c1{NORM}" for one in both[1:]),
    f"dann_s{NORM} c1_s{NORM}",
    *(f"{one}{NORM} c1" for one in both),
  ]


@pytest.mark.parametrize("other", ["cmn", "svm", "ridge"])
def test_every_adversary_is_compared_with_each_other_system(other):
  """Rivals and baselines, on the same features."""
  found = pairs("c1", "dann_0.1", "dann_0.3", "dann_s", other, f"{other}{NORM}")
  assert [one for one in found if one.endswith(other)] == [
    *(f"dann_0.1 {other}", f"dann_0.3 {other}", f"dann_s {other}"),
  ]
  assert f"{other} c1" in found
  assert f"{other}{NORM} c1" in found
