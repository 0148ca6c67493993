"""bc-LSTM, a system from outside the house, trained by its one entry point."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import cli, summary
from emojax.data import table as tables
from tests.examples import bc_lstm

FILE = pathlib.Path(bc_lstm.__file__)


@pytest.fixture(scope="module")
def config(tmp_path_factory, make_table):
  config = bc_lstm.get_config()
  config.data.corpus = "table"
  config.data.path = str(tmp_path_factory.mktemp("table") / "table.npz")
  tables.save(config.data.path, make_table())
  config.split.test_speakers = "5F,5M"
  config.num_epochs, config.num_replicates = 2, 2
  config.model.units, config.model.dense = 8, 6
  return config


def test_it_trains_and_its_summary_reads_back(config, tmp_path, capsys):
  found = cli.trainer(config).train(config, tmp_path / "run")
  assert summary.read(tmp_path / "run") == found
  row = found.row("unseen 5F, 5M", "bc_lstm")
  assert len(row.metrics["weighted_accuracy"].runs) == 2
  assert "bc-LSTM" in capsys.readouterr().out
  report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
  assert "| bc-LSTM " in report


@pytest.mark.parametrize("name", ["tests.examples.bc_lstm", str(FILE)])
def test_the_trainer_is_found_by_module_and_by_file(config, name):
  config = config.copy_and_resolve_references()
  config.trainer = name
  trainer = cli.trainer(config)
  assert list(trainer.audit(config)) == ["unseen 5F, 5M"]


def test_it_is_short():
  assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 250


def test_a_conversation_does_not_see_its_neighbours_in_a_row():
  """Packed beside others or alone, an utterance has the same logits."""
  model = bc_lstm.BcLstm(num_emotions=3, units=5, dense=4, dropout=0.5)
  features = {"audio": np.random.default_rng(0).normal(size=(5, 6))}
  features = jax.tree.map(lambda x: x.astype(np.float32), features)
  together = jnp.array([[0, 1, 2, 3, 4, 5]]), jnp.array([[1, 1, 1, 2, 2, 0]])
  alone = (
    jnp.array([[0, 1, 2], [3, 4, 5]]),
    jnp.array([[1, 1, 1], [1, 1, 0]]),
  )
  params = jax.jit(model.init)(jax.random.key(0), features, *together)
  logits = [
    jax.jit(model.apply)(params, features, *p)[0] for p in (together, alone)
  ]
  np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)
