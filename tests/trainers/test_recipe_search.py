"""When DANN-S takes lambda = 0, and what the report says of it."""

import json

import pytest

from emojax import runs
from emojax.reports import dann as reports
from emojax.trainers.recipe_search import Adversary, search


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
