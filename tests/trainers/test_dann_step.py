"""The step of all runs against PyTorch's Adam, closed forms, and runs alone.

A gradient is taken as given here where the test is of what the step does with
it: the network's own gradients are compared with PyTorch in `tests/models`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from configs import dann as dann_config
from emojax.data import conversations
from emojax.data import table as tables
from emojax.data.conversations import Task
from emojax.models.dann import Dann
from emojax.models.sa_gru import Packing
from emojax.runtime import sharding
from emojax.trainers import dann, optimizers
from emojax.trainers.dann import Recipe

L2 = 1e-3
NUM_STEPS = 40
ENCODER = ("fusion", "context")

BASE = Recipe(reversal=0.7, learning_rate=1e-2)
RECIPES = {
  "base": BASE,
  "faster": BASE._replace(learning_rate=3e-2),
  "lambda": BASE._replace(reversal=2.0),
  "ramp": BASE._replace(ramp=1.0),
  "averaging": BASE._replace(averaging=0.9),
  "clip": BASE._replace(clip_norm=0.05),
  "zero": BASE._replace(reversal=0.0),
  "zero stabilised": Recipe(0.0, 1e-2, averaging=0.9, clip_norm=0.05),
}
SEEDS = (0, 1)
RUNS = [(name, seed) for name in RECIPES for seed in SEEDS]


@dataclasses.dataclass(frozen=True)
class Problem:
  """All that a step takes but its state and runs."""

  model: Dann
  tx: optax.GradientTransformation
  batch: object
  task: Task
  key: jax.Array

  def init(self, runs) -> dann.State:
    widths = tuple((k, v.shape[1]) for k, v in self.task.features.items())
    weights = draw_program(self.model, widths)(np.array(SEEDS), self.key)
    return start_program(self.tx, True)(weights, runs[0])

  def step(self, state, runs):
    return step_program(self.model, self.tx)(
      state, *runs, self.batch, self.task, self.key
    )


# To compile takes longer here than to run.
jit = functools.partial(jax.jit, compiler_options=sharding.RUNS_ONCE)


@functools.cache
def draw_program(model, widths):
  return jit(functools.partial(dann.draw_weights, model, dict(widths)))


@functools.cache
def start_program(*arguments):
  return jit(functools.partial(dann.start_runs, *arguments))


@functools.cache
def step_program(*arguments):
  return jit(functools.partial(dann.train_step, *arguments))


def make_runs(named) -> tuple[jax.Array, Recipe]:
  """Runs of (name of a recipe, seed), or of (recipe, seed)."""
  recipes, seeds = zip(*named, strict=True)
  rows = [RECIPES[r] if isinstance(r, str) else r for r in recipes]
  return jnp.array(seeds), Recipe(*jnp.array(rows, jnp.float32).T)


@pytest.fixture(scope="module")
def problem(tmp_path_factory, make_table) -> Problem:
  table = make_table()
  label = table.label.copy()
  label[::7] = ""  # Some utterances of labelled speakers have none.
  table = dataclasses.replace(table, label=label)
  config = dann_config.get_config("table2")
  config.split.labelled_sessions = ("1234",)
  config.data.corpus = "table"
  config.data.path = str(tmp_path_factory.mktemp("table") / "table.npz")
  config.batch_size, config.num_epochs = 4, 2
  tables.save(config.data.path, table)
  corpus = conversations.read(config)
  ((name, split),) = corpus.splits.items()
  setting = conversations.prepare(config, corpus, name, split, "train")
  assert setting.plan.num_steps == 2
  # Room for more utterances than there are: the loss has to mask them.
  shape = setting.plan.shape
  setting.plan.shape = shape._replace(num_utterances=shape.num_utterances + 3)
  return Problem(
    Dann(num_emotions=4, num_speakers=10, hidden=8, num_heads=2),
    optimizers.adam_l2(L2),
    setting.plan.epoch(0)[0],
    setting.task._replace(num_steps=np.int32(NUM_STEPS)),
    jax.random.key(3),
  )


@pytest.fixture(scope="module")
def runs() -> tuple[jax.Array, Recipe]:
  return make_runs(RUNS)


@pytest.fixture(scope="module")
def trajectory(problem, runs) -> list[tuple[dann.State, dict]]:
  """States of all runs side by side after 0, 1, 2, 3 steps, with metrics."""
  states = [(problem.init(runs), {})]
  for _ in range(3):
    states.append(problem.step(states[-1][0], runs))
  return jax.device_get(states)


def inputs(problem) -> tuple[dict, Packing]:
  """What the network gets to see of the batch."""
  batch = problem.batch
  features = {
    name: values[batch.utterances_N]
    for name, values in problem.task.features.items()
  }
  return features, Packing(batch.position_BxT, batch.segment_BxT)


def run_of(tree, name, seed=0):
  """A run's part of a tree whose leaves lead with the run axis."""
  return jax.tree.map(lambda x: x[RUNS.index((name, seed))], tree)


def encoder(params):
  return {name: params[name] for name in ENCODER}


def assert_same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_close(one, other, rtol=1e-5, atol=1e-6):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol),
    one,
    other,
  )


def differ(one, other) -> bool:
  same = jax.tree.map(np.array_equal, one, other)
  return not any(jax.tree.leaves(same))


def test_a_seed_starts_every_system_from_the_same_weights(trajectory, problem):
  start = trajectory[0][0].params
  for name in RECIPES:
    for seed in SEEDS:
      assert_same(run_of(start, name, seed), run_of(start, "base", seed))
  one, other = (
    [x for x in jax.tree.leaves(run_of(start, "base", s)) if x.any()]
    for s in SEEDS
  )
  assert differ(one, other)
  # Neither does it matter how many runs there are.
  alone = problem.init(make_runs([("clip", 1)]))
  assert_same(
    run_of(start, "clip", 1), jax.tree.map(lambda x: x[0], alone.params)
  )
  assert_same(trajectory[0][0].average, start)


def test_the_losses_by_hand(problem, trajectory):
  """Means in nats: emotion over labelled utterances, domain over all."""
  _, metrics = trajectory[1]
  batch, count = problem.batch, int(problem.batch.count)
  index = batch.utterances_N[:count]
  assert count < len(batch.utterances_N)
  features, packing = inputs(problem)
  apply = jit(
    lambda p: problem.model.apply({"params": p}, features, packing, 0)
  )
  for name, seed in (("base", 0), ("base", 1), ("zero", 0)):
    logits, out = apply(run_of(trajectory[0][0].params, name, seed))
    emotions = problem.task.label_U[index]
    labelled = emotions >= 0
    assert 0 < labelled.sum() < count
    emotion_loss = torch.nn.functional.cross_entropy(
      torch.tensor(np.array(logits)[:count][labelled]),
      torch.tensor(emotions[labelled]).long(),
    )
    domain_loss = torch.nn.functional.cross_entropy(
      torch.tensor(np.array(out["domain_logits"])[:count]),
      torch.tensor(problem.task.domain_U[index]).long(),
    )
    found = run_of(metrics, name, seed)
    np.testing.assert_allclose(found["emotion_loss"], emotion_loss, rtol=1e-5)
    np.testing.assert_allclose(found["domain_loss"], domain_loss, rtol=1e-5)


@pytest.fixture(scope="module")
def gradients(problem):
  """`(params, lambda) -> gradients` of Eq. (5) from two plain losses.

  Two passes and a subtraction, with no reversal layer.
  """
  index_N, count = problem.batch.utterances_N, problem.batch.count
  features, packing = inputs(problem)
  real_N = np.arange(len(index_N)) < count
  emotion_N = problem.task.label_U[index_N]

  def cross_entropy(logits, targets, mask):
    log_probability = jax.nn.log_softmax(logits)
    picked = log_probability[np.arange(len(targets)), targets]
    return -(picked * mask).sum() / mask.sum()

  def emotion_loss(params):
    logits, _ = problem.model.apply({"params": params}, features, packing, 0)
    return cross_entropy(logits, emotion_N, real_N & (emotion_N >= 0))

  def domain_loss(params):
    _, out = problem.model.apply({"params": params}, features, packing, 0)
    layers = params["domain_classifier"]
    hidden = out["representation"] @ layers["hidden_layer"]["kernel"]
    hidden = jax.nn.relu(hidden + layers["hidden_layer"]["bias"][None])
    logits = hidden @ layers["output"]["kernel"]
    logits += layers["output"]["bias"][None]
    return cross_entropy(logits, problem.task.domain_U[index_N], real_N)

  both = jit(lambda p: (jax.grad(emotion_loss)(p), jax.grad(domain_loss)(p)))

  def of(params, reversal):
    emotion, domain = jax.device_get(both(params))
    subtracted = jax.tree.map(lambda e, d: e - reversal * d, emotion, domain)
    # The domain classifier itself goes down its own loss.
    return subtracted | {"domain_classifier": domain["domain_classifier"]}

  return of


@pytest.mark.parametrize("name", ["base", "lambda", "clip", "zero stabilised"])
def test_three_steps_are_those_of_pytorch(trajectory, gradients, name):
  """Eq. (5), a clip of each part, L2 in the gradient, Adam."""
  recipe = RECIPES[name]
  states = [run_of(state.params, name) for state, _ in trajectory]
  leaves, structure = jax.tree.flatten(states[0])
  parts = [
    path[0].key == "domain_classifier"
    for path, _ in jax.tree_util.tree_leaves_with_path(states[0])
  ]
  parameters = [torch.nn.Parameter(torch.tensor(x)) for x in leaves]
  adam = torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=L2)
  for found in states[1:]:
    params = structure.unflatten([p.detach().numpy() for p in parameters])
    grads = jax.tree.leaves(gradients(params, recipe.reversal))
    for parameter, grad in zip(parameters, grads, strict=True):
      parameter.grad = torch.tensor(grad)
    for part in (True, False):
      torch.nn.utils.clip_grad_norm_(
        [p for p, q in zip(parameters, parts, strict=True) if q == part],
        recipe.clip_norm,
      )
    adam.step()
    params = structure.unflatten([p.detach().numpy() for p in parameters])
    # Adam divides by the gradient's size: of tiny ones, noise is all.
    assert_close(found, params, rtol=1e-3, atol=2e-4)


def test_the_clip_is_of_each_part(trajectory, gradients):
  def norms(grads):
    domain = jax.tree.leaves(grads["domain_classifier"])
    rest = [
      x
      for n in grads
      if n != "domain_classifier"
      for x in jax.tree.leaves(grads[n])
    ]
    return [np.sqrt(sum((x**2).sum() for x in part)) for part in (domain, rest)]

  clip = jit(dann.clip)
  grads = gradients(run_of(trajectory[0][0].params, "clip"), BASE.reversal)
  assert min(norms(grads)) > 2 * RECIPES["clip"].clip_norm
  np.testing.assert_allclose(norms(clip(grads, 0.05)), 0.05, rtol=1e-5)
  between = sum(norms(grads)) / 2
  low, high = sorted(norms(clip(grads, between)))
  np.testing.assert_allclose(
    [low, high], [min(norms(grads)), between], rtol=1e-5
  )
  assert_same(clip(grads, jnp.inf), grads)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_among_others_is_the_run_alone(problem, trajectory, name, seed):
  """Each axis acts on its own run, and on no other."""
  alone = make_runs([(name, seed)])
  state = problem.init(alone)
  for together, together_metrics in trajectory[1:]:
    state, metrics = problem.step(state, alone)
    for found, expected in (
      (state.params, together.params),
      (state.average, together.average),
      (metrics, together_metrics),
    ):
      found = jax.tree.map(lambda x: x[0], found)
      assert_close(found, run_of(expected, name, seed), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in RECIPES if n != "base"])
def test_every_axis_is_felt(trajectory, name):
  state, _ = trajectory[-1]
  field = "average" if name == "averaging" else "params"
  found, base = (run_of(getattr(state, field), n) for n in (name, "base"))
  assert differ(encoder(found), encoder(base))


def test_the_learning_rate_scales_the_first_step(trajectory):
  """Adam's first step is the learning rate times a direction."""
  (start, _), (after, _) = trajectory[:2]
  slow, fast = (
    jax.tree.map(np.subtract, run_of(after.params, n), run_of(start.params, n))
    for n in ("base", "faster")
  )
  assert_close(fast, jax.tree.map(lambda x: 3 * x, slow), atol=1e-6)


def test_lambda_never_moves_the_domain_classifier_itself(trajectory):
  after, _ = trajectory[1]
  for name in ("lambda", "ramp", "averaging", "zero"):
    for part in ("domain_classifier", "emotion_classifier"):
      found, base = (run_of(after.params, n)[part] for n in (name, "base"))
      assert_close(found, base)


def test_the_ramp_starts_at_zero(trajectory):
  after, _ = trajectory[1]
  ramp, zero, base = (
    encoder(run_of(after.params, name)) for name in ("ramp", "zero", "base")
  )
  assert_same(ramp, zero)
  assert differ(ramp, base)


@pytest.mark.parametrize("at_step", [1, 7, 20, NUM_STEPS])
def test_the_ramp_is_that_of_ganin(problem, runs, trajectory, at_step):
  """lambda_p = 2 / (1 + exp(-10 p)) - 1, p the share of the training done."""
  progress = at_step / NUM_STEPS
  factor = 2 / (1 + np.exp(-10 * progress)) - 1
  reversal = [
    factor * BASE.reversal if name == "base" else RECIPES[name].reversal
    for name, _ in RUNS
  ]
  state = dataclasses.replace(trajectory[1][0], step=jnp.int32(at_step))
  base, ramp = ((name, 0) for name in ("base", "ramp"))
  # From the same state, whatever has become of the two before.
  index = np.arange(len(RUNS))
  index[RUNS.index(ramp)] = RUNS.index(base)
  state = dataclasses.replace(
    jax.tree.map(lambda x: x[index], dataclasses.replace(state, step=index)),
    step=state.step,
  )
  seeds, recipes = runs
  runs = seeds, recipes._replace(reversal=jnp.array(reversal, jnp.float32))
  after, _ = jax.device_get(problem.step(state, runs))
  assert_close(run_of(after.params, *ramp), run_of(after.params, *base))
  before = run_of(trajectory[1][0].params, *base)
  assert differ(encoder(run_of(after.params, *ramp)), encoder(before))


def test_the_average_of_the_weights(trajectory):
  decay = RECIPES["averaging"].averaging
  average = run_of(trajectory[0][0].params, "averaging")
  for number, (state, _) in enumerate(trajectory[1:]):
    early = min(decay, (1 + number) / (10 + number))
    average = jax.tree.map(
      lambda a, p, d=early: d * a + (1 - d) * p,
      average,
      run_of(state.params, "averaging"),
    )
    assert_close(run_of(state.average, "averaging"), average)
    assert dann.evaluated_params(state) is state.average
    # A run that does not average is evaluated as it is, to the last bit.
    assert_same(run_of(state.average, "clip"), run_of(state.params, "clip"))
    # The average changes what is evaluated, and nothing else.
    assert_same(run_of(state.params, "averaging"), run_of(state.params, "base"))


@pytest.mark.parametrize("name", ["zero", "zero stabilised"])
def test_lambda_zero_feels_nothing_of_the_domain_bit_for_bit(
  problem, runs, trajectory, name
):
  """Neither through the reversal layer, nor through clipping or averaging."""
  other = dataclasses.replace(
    problem, task=problem.task._replace(domain_U=problem.task.domain_U[::-1])
  )
  state = trajectory[0][0]
  for expected, _ in trajectory[1:]:
    domain = jax.tree.map(
      lambda x: 30 * x + 1, state.params["domain_classifier"]
    )
    params = state.params | {"domain_classifier": domain}
    state = dataclasses.replace(state, params=params)
    state, metrics = jax.device_get(other.step(state, runs))
    assert run_of(metrics, name)["domain_loss"] > 10
    for trees in ((state, expected), (state.average, expected.average)):
      found, undisturbed = (
        run_of(getattr(tree, "params", tree), name) for tree in trees
      )
      for part in (*ENCODER, "emotion_classifier"):
        assert_same(found[part], undisturbed[part])
    base, undisturbed = (
      run_of(tree.params, "base") for tree in (state, expected)
    )
    assert differ(encoder(base), encoder(undisturbed))


def test_dropout_differs_by_run_and_by_step(problem, trajectory):
  problem = dataclasses.replace(problem, model=problem.model.clone(dropout=0.5))
  still = BASE._replace(learning_rate=0.0)
  runs = make_runs([(still, 0), (still, 1), (still, 0)])
  # The same weights in all runs, which a learning rate of 0 keeps.
  start = trajectory[0][0]
  params, optimizer = jax.tree.map(
    lambda x: np.stack([x[0]] * 3), (start.params, start.optimizer)
  )
  state = dann.State(jnp.int32(0), params, optimizer, average=None)
  losses = []
  for _ in range(2):
    state, metrics = problem.step(state, runs)
    losses.append(np.asarray(metrics["emotion_loss"]))
  assert_same(state.params, params)
  (a, b, c), (d, e, f) = losses
  assert a == c
  assert d == f
  assert len({float(x) for x in (a, b, d, e)}) == 4
  # No run averages its weights: these are what is evaluated.
  assert state.average is None
  assert dann.evaluated_params(state) is state.params


def test_an_evaluation_counts_the_test_part_alone(problem, trajectory):
  """Run by run; utterances beyond the batch's count never."""
  state = trajectory[0][0]
  batch = problem.batch
  targets = np.where(np.arange(len(problem.task.target_U)) % 3, -1, 2)
  task = problem.task._replace(target_U=targets.astype(np.int32))
  collection = jit(functools.partial(dann.evaluate_batch, problem.model))(
    state, batch, task
  )
  found = jax.jit(jax.vmap(lambda c: c.compute()))(collection)
  logits, _ = jit(functools.partial(dann.forward, problem.model))(
    state, batch, task
  )
  count = int(batch.count)
  tested = targets[batch.utterances_N[:count]] >= 0
  assert 0 < tested.sum() < count
  predicted = np.asarray(logits)[:, :count][:, tested].argmax(-1)
  expected = np.stack([np.bincount(p, minlength=4) for p in predicted])
  np.testing.assert_array_equal(found["confusion_matrix"][:, 2], expected)
  assert found["confusion_matrix"].sum() == expected.sum()
