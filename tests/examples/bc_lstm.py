"""bc-LSTM, a system that is added from outside: Poria et al., ACL 2017,
"Context-dependent sentiment analysis in user-generated videos".

  python launch.py --config=tests/examples/bc_lstm.py

The variant without a hierarchy (section 3.3): the features of an utterance are
concatenated over the modalities, a bidirectional LSTM reads the utterances of a
conversation, a dense layer with ReLU and a softmax follow each of its states.
Data, splits and batches are those of the DANN study; the runs are an axis.

R runs, S seeds, N utterances of a batch, B rows of T turns, D features.
"""

import functools
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn

from configs import dann
from emojax import checks, losses, metrics, runs, summary
from emojax.data import conversations, split_audit
from emojax.reports import tables
from emojax.runtime import environment
from emojax.runtime.sharding import REPLICA, REPLICATED
from emojax.summary import System
from emojax.trainers.run_axis import Cohort, Program, Training

AUDITED = split_audit.AUDITED
audit = conversations.audit
BC_LSTM = System("bc_lstm", "bc-LSTM")


def get_config() -> ml_collections.ConfigDict:
  """The demo corpus; all of DANN's fields for data and splits are there."""
  config = dann.get_config()
  for name in ("lambdas", "lambda_schedule", "stabilised", "baselines"):
    del config[name]
  config.title = "bc-LSTM: unseen speakers"
  config.trainer = "tests.examples.bc_lstm"
  config.optimizer = ml_collections.ConfigDict({"learning_rate": 1e-3})  # Adam.
  config.model = ml_collections.ConfigDict()
  config.model.units = 100  # Of the LSTM, in each direction.
  config.model.dense = 50
  config.model.dropout = 0.5  # On the states of the LSTM.
  return config


class Lstm(nn.Module):
  """An LSTM over packed rows, which forgets where a conversation begins."""

  units: int

  @nn.compact
  def __call__(self, x_BxTxD, segment_BxT):
    before_BxT = jnp.pad(segment_BxT, ((0, 0), (1, 0)))[:, :-1]
    keep_BxTx1 = (segment_BxT == before_BxT).astype(x_BxTxD.dtype)[..., None]
    cell = nn.OptimizedLSTMCell(self.units)

    def turn(cell, carry, inputs):
      x_BxD, keep_Bx1 = inputs
      return cell(jax.tree.map(lambda c: c * keep_Bx1, carry), x_BxD)

    scan = nn.scan(
      turn,
      variable_broadcast="params",
      split_rngs={"params": False},
      in_axes=1,
      out_axes=1,
    )
    zeros = jnp.zeros((len(x_BxTxD), self.units))
    return scan(cell, (zeros, zeros), (x_BxTxD, keep_BxTx1))[1]


class BcLstm(nn.Module):
  """Emotion logits [N, C] and dense representations [N, H]."""

  num_emotions: int
  units: int
  dense: int
  dropout: float

  @nn.compact
  def __call__(self, features, position_BxT, segment_BxT, train=False):
    x_NxD = jnp.concatenate([features[n] for n in sorted(features)], axis=1)
    num_utterances = len(x_NxD)
    x_BxTxD = jnp.pad(x_NxD, ((0, 1), (0, 0)))[position_BxT]
    forward = Lstm(self.units, name="forward")(x_BxTxD, segment_BxT)
    backward = Lstm(self.units, name="backward")(
      x_BxTxD[:, ::-1], segment_BxT[:, ::-1]
    )
    states_BxTxH = jnp.concatenate([forward, backward[:, ::-1]], axis=-1)
    states_NxH = jnp.zeros((num_utterances + 1, 2 * self.units))
    states_NxH = states_NxH.at[position_BxT].set(states_BxTxH)[:num_utterances]
    states_NxH = nn.Dropout(self.dropout, deterministic=not train)(states_NxH)
    hidden_NxH = nn.relu(nn.Dense(self.dense, name="dense")(states_NxH))
    return nn.Dense(self.num_emotions, name="output")(hidden_NxH), hidden_NxH


class Recipe(NamedTuple):
  """How a run is trained; [R] for R runs."""

  learning_rate: Any


@flax.struct.dataclass
class State:
  """Of R runs; all leaves lead with the run axis, but `step`."""

  step: jax.Array
  params: Any
  optimizer: Any


def draw(model, widths, seeds_S, key):
  """The first weights of each seed."""
  features = {name: jnp.zeros((1, width)) for name, width in widths.items()}
  row = jnp.zeros((1, 1), jnp.int32)

  def one_seed(seed):
    return model.init(jax.random.fold_in(key, seed), features, row, row + 1)

  return jax.vmap(one_seed)(seeds_S)["params"]


def start(tx, weights, seeds_R):
  """The first state of runs."""
  params = jax.tree.map(lambda weights_S: weights_S[seeds_R], weights)
  return State(jnp.int32(0), params, jax.vmap(tx.init)(params))


def loss_fn(params, model, batch, task, key):
  """Mean cross-entropy over the labelled utterances of a batch."""
  logits_NxC, _ = apply(model, params, batch, task, key)
  label_N = task.label_U[batch.utterances_N]
  real_N = jnp.arange(len(label_N)) < batch.count
  return losses.masked_cross_entropy(
    logits_NxC, label_N, real_N & (label_N >= 0)
  )


def step(model, tx, state, seeds_R, recipes, batch, task, key):
  """One step of all runs."""
  key = jax.random.fold_in(key, state.step)

  def one_run(params, optimizer, seed, recipe):
    loss, grads = jax.value_and_grad(loss_fn)(
      params, model, batch, task, jax.random.fold_in(key, seed)
    )
    updates, optimizer = tx.update(grads, optimizer, params)
    rate = recipe.learning_rate
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return params, optimizer, loss

  params, optimizer, loss_R = jax.vmap(one_run)(
    state.params, state.optimizer, seeds_R, recipes
  )
  return State(state.step + 1, params, optimizer), {"loss": loss_R}


def apply(model, params, batch, task, key=None):
  """Logits and representations of one run; dropout where there is a key."""
  features = jax.tree.map(lambda x: x[batch.utterances_N], task.features)
  return model.apply(
    {"params": params},
    features,
    batch.position_BxT,
    batch.segment_BxT,
    train=key is not None,
    rngs=None if key is None else {"dropout": key},
  )


def outputs(model, state, batch, task):
  """Logits [R, N, C] and representations [R, N, H]."""
  return jax.vmap(lambda params: apply(model, params, batch, task))(
    state.params
  )


def evaluate(model, state, batch, task):
  """Metrics of the test part, each leaf [R, ...]."""
  target_N = task.target_U[batch.utterances_N]
  mask_N = (jnp.arange(len(target_N)) < batch.count) & (target_N >= 0)
  return jax.vmap(
    lambda logits: metrics.ClassificationMetrics.from_model_output(
      logits=logits, labels=target_N, mask=mask_N
    )
  )(outputs(model, state, batch, task)[0])


def train(config: ml_collections.ConfigDict, workdir) -> summary.Summary:
  """Trains all runs, or goes on with them, and returns the summary."""
  conversations.check(config)
  checks.positive(config, "optimizer.learning_rate", "model.units")
  result = runs.complete(config, workdir, functools.partial(_study, config))
  print(tables.terminal_table(result))
  return result


def _study(config, grid):
  corpus = conversations.read(config)
  model = BcLstm(len(corpus.classes), **config.model)
  tx = optax.scale_by_adam()
  widths = {name: x.shape[1] for name, x in corpus.table.features.items()}
  program = Program(
    draw=functools.partial(draw, model, widths),
    start=functools.partial(start, tx),
    step=functools.partial(step, model, tx),
    evaluate=functools.partial(evaluate, model),
    outputs=functools.partial(outputs, model),
    specs=State(REPLICATED, REPLICA, REPLICA),
  )
  recipes = {BC_LSTM: Recipe(config.optimizer.learning_rate)}
  cohorts = [
    Cohort(
      conversations.prepare(config, corpus, *one, config.data.normalisation),
      recipes,
      config.num_replicates,
    )
    for one in corpus.splits.items()
  ]
  training = Training({"": program}, cohorts, config.seed)
  _, history = grid.loop(
    training.study(training.init), grid.workdir, config.num_epochs, "training"
  )
  found = summary.Summary(
    study="bc_lstm",
    title=config.title,
    demo=config.data.corpus == "demo",
    classes=corpus.classes,
    selection=summary.LAST_EPOCH,
    metrics=tuple(summary.METRICS),
    systems=(BC_LSTM,),
    rows=tuple(_row(cohort, history) for cohort in cohorts),
    comparisons=(),
    **environment.describe(),
  )
  text = tables.report(found, {}, {}, [])
  return found, {"report.md": lambda path: path.write_text(text, "utf-8")}


def _row(cohort, history) -> summary.Row:
  confusion_RxExCxC = cohort.recorded(BC_LSTM, history)["confusion_matrix"]
  return summary.row(cohort.setting.name, BC_LSTM.id, confusion_RxExCxC[:, -1])
