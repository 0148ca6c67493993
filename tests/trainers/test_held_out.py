"""Which system is kept, and its temperature, in closed form."""

import types

import numpy as np
import pytest

from emojax.summary import System
from emojax.trainers import held_out
from emojax.trainers.run_axis import Cohort

BASE, OTHER = System("base", "Base"), System("other", "Other")


def kept(logits):
  """Of two folds, 10 utterances (all of class 0) and 30 (26 of it)."""
  target_FxU = np.full((2, 40), -1)
  target_FxU[0, :10] = 0
  target_FxU[1, 10:] = [0] * 26 + [1] * 4
  folds = [
    Cohort(
      types.SimpleNamespace(
        name="TS 1",
        task=types.SimpleNamespace(target_U=target_U),
        plan=types.SimpleNamespace(shape=types.SimpleNamespace(row_length=40)),
      ),
      {BASE: None, OTHER: None},
      1,
    )
    for target_U in target_FxU
  ]
  corpus = types.SimpleNamespace(dialogues=[np.arange(40)])
  logits_RxUxC = np.repeat(np.array(logits, float)[:, None], 40, 1)
  training = types.SimpleNamespace(outputs=lambda *_: (logits_RxUxC, None))
  return held_out.choose(corpus, folds[0], folds, training, None)


def test_the_best_mean_over_folds_is_kept():
  """Right are 36 of 40, at a logit of 3: the best probability is 0.9."""
  found = kept([[0, 2], [3, 0]])
  assert (found.setting, found.system) == ("TS 1", OTHER)
  assert found.temperature == pytest.approx(3 / np.log(9))
  assert found.held_out == pytest.approx(
    {"base": (0 + 4 / 30) / 2, "other": (1 + 26 / 30) / 2}
  )


def test_of_equal_ones_the_first_is_kept():
  assert kept([[3, 0], [4, 0]]).system == BASE
