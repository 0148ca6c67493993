"""When DANN-S takes lambda = 0, and what the report says of it."""

import json
import types
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from emojax import runs
from emojax.reports import dann as reports
from emojax.trainers import recipe_search
from emojax.trainers.recipe_search import Adversary, search
from emojax.trainers.run_axis import Cohort


@pytest.mark.parametrize(
  ("gain", "error", "probe", "helps", "why"),
  [
    (0.03, 0.01, 0.5, True, "an adversary helps"),
    # Within one standard error; worse; and with nothing to forget: 0.12 is
    # 0.022 of the way from 0.1 to 1.
    (0.01, 0.02, 0.5, False, "that is not enough"),
    (-0.03, 0.01, 0.5, False, "that is not enough"),
    (0.03, 0.01, 0.12, False, "there is nothing to forget"),
    # Speakers who can not be probed.
    (0.03, 0.01, None, True, "an adversary helps"),
  ],
)
def test_the_simpler_one_is_taken_in_doubt(gain, error, probe, helps, why):
  seen = Adversary("TS 1", "train", 0.3, gain, error, probe, 0.1)
  assert seen.helps == helps
  sentence = reports.adversary(seen.to_json())
  assert sentence.startswith("TS 1, features normalised by train: ")
  assert why in sentence


def test_a_search_that_was_killed_at_its_end_leaves_no_checkpoints(tmp_path):
  folder = tmp_path / "search"
  checkpoint = folder / "rung-1/checkpoints/4/state"
  checkpoint.parent.mkdir(parents=True)
  checkpoint.write_text("6 GB")
  (folder / "choice.json").write_text(json.dumps({"chosen": []}))
  found = search(None, None, runs.Grid(tmp_path, None), None, None)
  assert found == {"chosen": []}
  assert {path.name for path in folder.rglob("*")} == {"rung-1", "choice.json"}


class Recipe(NamedTuple):
  reversal: float
  learning_rate: float


def test_the_gain_is_dann_less_c1_by_speaker_who_is_held_out():
  """In closed form, of two initialisations; one of `a` is in no fold."""
  c1, dann = Recipe(0.0, 0.1), Recipe(0.5, 0.2)
  target_FxU = np.array([[0, 1, 0, 1, -1, -1, -1], [-1] * 4 + [1, 0, -1]])
  # C1's two runs, then DANN's: whether they are right.
  right_FxRxU = np.zeros((2, 4, 7), bool)
  right_FxRxU[0, :, :4] = [
    *([0, 0, 1, 0], [1, 0, 1, 0]),
    *([1, 1, 0, 1], [1, 1, 1, 0]),
  ]
  right_FxRxU[1, :, 4:6] = [[0, 0], [0, 1], [0, 1], [0, 1]]
  cohorts, outputs = [], {}
  for target_U, right_RxU in zip(target_FxU, right_FxRxU, strict=True):
    setting = types.SimpleNamespace(
      name="TS 1", task=types.SimpleNamespace(target_U=target_U)
    )
    recipes = {
      recipe_search._candidate(one, "train"): one for one in (c1, dann)
    }
    cohorts.append(Cohort(setting, recipes, 2))
    class_RxU = np.where(right_RxU, target_U, 1 - target_U) % 2
    outputs[id(cohorts[-1])] = np.eye(2)[class_RxU]
  key = "TS 1", "train"
  folds = object.__new__(recipe_search._Folds)
  folds._folds, folds._cohorts = {key: None}, {key: cohorts}
  folds._corpus = types.SimpleNamespace(speaker_U=np.array([*"aabbcca"]))
  folds._outputs = lambda cohort, _: (outputs[id(cohort)], None)
  folds._identity = lambda *_: (0.6, 0.5)
  (found,) = folds.adversaries(
    {
      (*key, recipe_search._c1("train")): c1,
      (*key, recipe_search._dann("train")): dann,
    }
  )
  gains = [3 / 4, 0, 1 / 4]
  assert found.gain == pytest.approx(np.mean(gains))
  assert found.standard_error == pytest.approx(stats.sem(gains))
  assert found[:3] == (*key, 0.5) and found[5:] == (0.6, 0.5)
