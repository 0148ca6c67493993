"""Table 3 on a small table: DANN's rivals as rows of its study."""

import re

import pytest

from configs import dann as dann_config
from emojax import summary
from emojax.data import conversations
from emojax.data import table as feature_tables
from emojax.errors import UserError
from emojax.reports import dann as reports
from emojax.reports import tables
from emojax.summary import read_arrays
from emojax.trainers import dann, held_out

RIVALS = {"bc_lstm": "bc-LSTM", "cmn": "CMN", "dialogue_rnn": "DialogueRNN"}


@pytest.fixture(scope="module")
def config(tmp_path_factory, make_table):
  table = make_table()
  path = str(tmp_path_factory.mktemp("table") / "table.npz")
  feature_tables.save(path, table)
  config = dann_config.get_config("table3")
  config.data.corpus, config.data.path = "table", path
  config.model.hidden, config.model.num_heads = 8, 2
  config.optimizer.learning_rate = 1e-2
  config.split.labelled_sessions = ("1234",)
  config.num_epochs, config.num_replicates, config.batch_size = 2, 2, 20
  config.probe_replicates, config.checkpoint_every = 1, 2
  config.stabilised.enabled = False
  config.baselines = ()
  return config


def test_the_study_of_table_3(config, tmp_path, monkeypatch):
  drawn = {}
  monkeypatch.setattr(
    reports.study, "files", lambda *given: drawn.update(given=given) or {}
  )
  # What others share with it: DANN's own runs with some speakers held out.
  monkeypatch.setattr(held_out, "folds", lambda *_: [])
  found = dann.train(config, tmp_path / "run")
  assert summary.read(tmp_path / "run") == found
  systems = {"c1": "C1", "dann": "DANN", **RIVALS}
  assert {one.id: one.label for one in found.systems} == systems
  for row in found.rows:
    assert row.setting == "TS 1234"
    assert len(row.metrics["weighted_accuracy"].runs) == 2
    assert len(row.metrics["speaker_probe"].runs) == 1
    assert row.oracle
  history = read_arrays(tmp_path / "run" / "history.npz")
  for rival in RIVALS:
    loss_RxE = history[summary.history_name("TS 1234", rival, "emotion_loss")]
    assert (loss_RxE[:, 1] < loss_RxE[:, 0]).all()
    # Initialisations differ.
    assert loss_RxE[0, 0] != loss_RxE[1, 0]

  pairs = {(one.a, one.b) for one in found.comparisons}
  assert pairs == {(one, "c1") for one in ("dann", *RIVALS)} | {
    ("dann", one) for one in RIVALS
  }
  assert found.details["kept"]["system"] == "dann"
  _, _, published, _ = drawn["given"]
  table = tables.results_tables(found, published)
  lines = [re.split(r"[ |]{2,}", line) for line in table.splitlines()]
  lines = {line[1]: line[2] for line in lines if len(line) > 2}
  assert lines["*bc-LSTM, published*"] == "*74.3*"
  assert lines["*CMN, published*"] == "*77.6*"
  assert "*DialogueRNN, published*" not in lines


def test_no_rival_can_be_kept(config):
  """What is kept is chosen among the systems of the first cohort."""
  corpus = conversations.read(config)
  first, *others = dann.make_cohorts(config, corpus, ())
  assert [system.id for system in first.recipes] == ["c1", "dann"]
  assert [one.program for one in others] == [*RIVALS]


def test_parties_are_of_the_conversation(config):
  corpus = conversations.read(config)
  for rows in corpus.dialogues:
    speakers = corpus.table.speaker[rows]
    order = list(dict.fromkeys(speakers.tolist()))
    assert corpus.party_U[rows].tolist() == [order.index(s) for s in speakers]
  assert set(corpus.party_U.tolist()) == {0, 1}


def test_a_rival_that_nobody_knows(config, tmp_path):
  config = config.copy_and_resolve_references()
  config.rivals = ("cnm",)
  with pytest.raises(UserError, match="no cnm; there are bc_lstm, cmn, dialo"):
    dann.train(config, tmp_path / "run")
