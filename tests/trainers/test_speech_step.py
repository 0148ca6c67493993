"""What a step of the speech study changes, and by how much."""

import dataclasses

import chex
import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
import torch

from configs import speech as speech_config
from emojax.audio.settings import Settings
from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.systems import untrained
from emojax.systems.speech import SpeechSystem
from emojax.systems.untrained import Untrained
from emojax.trainers import fit, optimizers, speech_step
from emojax.trainers.speech_step import Recipe

TINY = SpeechConfig(
  hidden_size=8,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=8,
  feat_extract_norm="layer",
  conv_dim=(4,),
  conv_kernel=(400,),
  conv_stride=(320,),
  num_conv_pos_embeddings=4,
  num_conv_pos_embedding_groups=2,
  mask_time_prob=0.0,
  hidden_dropout=0.0,
  activation_dropout=0.0,
  attention_dropout=0.0,
  layerdrop=0.0,
)
SYSTEM = SpeechSystem(
  encoder=Wav2Vec2(TINY),
  classes=("angry", "happy", "sad"),
  window_seconds=1.0,
  pooling="attention",
  weigh_layers=False,
  averaged_frames=1,
  hidden=8,
  dropout=0.0,
)
RECIPE = Recipe(SYSTEM, SYSTEM.model(), num_steps=10)


def make_batch(size=6, samples=2000, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "inputs": rng.integers(-9000, 9000, (size, samples)).astype(np.int16),
    "length": np.full(size, samples, np.int32),
    "label": np.arange(size, dtype=np.int32) % 3,
    "domain": np.arange(size, dtype=np.int32) % 2,
    "weight": np.ones(size, np.float32),
  }


def extra(weights=(1, 1, 1)):
  return {"class_weight": np.array(weights, np.float32), "responses": None}


def make(trained_layers, system=SYSTEM):
  return Untrained("tiny", "tiny", system, None, trained_layers)


def one_step(classifier, recipe, tx, batch=None, weights=(1, 1, 1)):
  """Parameters before and after a step, flat; and the losses."""
  trained, frozen = classifier.init(jax.random.key(0))
  run = jax.jit(
    lambda learner, frozen, batch, more: speech_step.train_step(
      recipe, tx, learner, jax.random.key(1), frozen, batch, more
    )
  )
  batch = make_batch() if batch is None else batch
  learner = fit.init_learner(tx, {"params": trained})
  after, metrics = run(learner, frozen, batch, extra(weights))
  flat = flax.traverse_util.flatten_dict
  before = untrained.merge(frozen, trained)
  return flat(before), flat(untrained.merge(frozen, after.params)), metrics


@pytest.mark.parametrize("last", [0, 1, None])
def test_exactly_the_last_layers_change(last):
  before, after, _ = one_step(make(last), RECIPE, optax.sgd(0.1))
  changed = {path for path in before if (before[path] != after[path]).any()}
  layers = range(2 - (2 if last is None else last), 2)
  # A bias of the keys shifts all scores of a query alike: its gradient is 0.
  expected = {
    path
    for path in before
    if (path[0] != "encoder")
    or last is None
    or (path[1] == "encoder" and path[2] in {f"layers_{i}" for i in layers})
  }
  idle = {path for path in expected if path[-2:] == ("k_proj", "bias")}
  assert expected - idle - {("pool", "score", "bias")} <= changed <= expected


def test_the_adversarys_gradient_at_the_encoder():
  system = dataclasses.replace(SYSTEM, num_domains=2)
  trained, frozen = make(None, system).init(jax.random.key(0))
  recipe, batch = Recipe(system, system.model()), make_batch()

  def loss(params, batch, reversal):
    more = {**extra(), "reversal": reversal}
    key = jax.random.key(0)
    _, (parts, _) = speech_step.loss_fn(
      recipe, params, {}, key, frozen, batch, more
    )
    return parts["domain_loss"]

  gradient = jax.jit(jax.grad(loss))

  def domain_loss(params, reversal):
    return gradient(params, batch, jnp.float32(reversal))

  # Of a reversal by -1 the gradient is that of the plain loss.
  plain = domain_loss(trained, -1.0)
  for reversal in (0.0, 0.3, 2.0):
    reversed_ = domain_loss(trained, reversal)
    chex.assert_trees_all_close(
      reversed_["encoder"],
      jax.tree.map(lambda g, r=reversal: -r * g, plain["encoder"]),
      rtol=1e-4,
      atol=1e-6,
    )
    chex.assert_trees_all_close(
      reversed_["domain_classifier"], plain["domain_classifier"], atol=1e-7
    )
  assert optax.tree.norm(plain["encoder"]) > 1e-3


def test_loss_is_pytorchs():
  classifier = make(0)
  params = untrained.merge(*classifier.init(jax.random.key(0)))
  batch, weights = make_batch(), (0.5, 1.0, 2.0)
  batch["weight"][-1] = 0  # Fills up the batch.
  logits, _ = SYSTEM.forward(params, batch["inputs"], batch["length"])
  logits = torch.tensor(np.asarray(logits[:-1]))
  label = torch.tensor(batch["label"][:-1]).long()
  expected = torch.nn.functional.cross_entropy(
    logits, label, torch.tensor(weights)
  )
  _, _, plain = one_step(classifier, RECIPE, optax.sgd(0.1), batch, weights)
  assert plain["emotion_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_smoothed_targets_are_pytorchs():
  batch, classifier = make_batch(), make(0)
  params = untrained.merge(*classifier.init(jax.random.key(0)))
  logits, _ = SYSTEM.forward(params, batch["inputs"], batch["length"])
  expected = torch.nn.functional.cross_entropy(
    torch.tensor(np.asarray(logits)),
    torch.tensor(batch["label"]).long(),
    label_smoothing=0.1,
  )
  recipe = dataclasses.replace(RECIPE, label_smoothing=0.1)
  _, _, found = one_step(classifier, recipe, optax.sgd(0.1), batch)
  assert found["emotion_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_mixup():
  x = jnp.arange(12.0).reshape(4, 3)
  targets = jax.nn.one_hot(jnp.arange(4), 4)
  lengths = jnp.array([1, 2, 3, 3])
  mixed, longer, shares = fit.mixup(jax.random.key(0), 0.4, x, lengths, targets)
  np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-6)
  assert (jnp.diagonal(shares) >= 0.5).all()
  np.testing.assert_allclose(mixed, shares @ x, atol=1e-5)
  for row in range(4):
    parents = np.flatnonzero(shares[row] > 0)
    assert longer[row] == max(lengths[parent] for parent in parents)


@pytest.mark.parametrize("total", [3, 9, 40, 200])
def test_schedules_are_pytorchs(total):
  def theirs(scheduler):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 3e-3)
    rates, schedule = [], scheduler(optimizer)
    for _ in range(total):
      rates.append(optimizer.param_groups[0]["lr"])
      optimizer.step()
      schedule.step()
    return rates

  lr = torch.optim.lr_scheduler
  references = {
    "constant": lambda o: lr.ConstantLR(o, 1.0),
    "cosine": lambda o: lr.CosineAnnealingLR(o, total),
    "warm_restarts": lambda o: lr.CosineAnnealingWarmRestarts(
      o, -(-total // 10), 2
    ),
  }
  for name, reference in references.items():
    ours = optimizers.SCHEDULES[name](3e-3, total)
    rates = [float(ours(i)) for i in range(total)]
    np.testing.assert_allclose(rates, theirs(reference), atol=1e-8)
  one_cycle = optimizers.SCHEDULES["one_cycle"](3e-3, total)
  # PyTorch places the peak one update before the share that it is given.
  share = (max(total // 10, 1) + 1) / (total + 1)
  expected = theirs(
    lambda o: lr.OneCycleLR(
      o, 3e-3, total_steps=total + 1, pct_start=share, cycle_momentum=False
    )
  )
  rates = [float(one_cycle(i)) for i in range(total)]
  np.testing.assert_allclose(rates, expected, rtol=1e-4)
  assert rates[0] == pytest.approx(3e-3 / 25)
  assert float(one_cycle(total)) == pytest.approx(3e-3 / 250_000)


def config_of(**changes):
  config = speech_config.get_config("demo").optimizer
  config.update({"schedule": "constant", "learning_rate": 0.1} | changes)
  return ml_collections.FrozenConfigDict(config)


def test_encoder_and_pooling_have_learning_rates_of_their_own():
  params = {name: jnp.ones(3) for name in ("encoder", "pool", "output")}
  grads = {name: jnp.full(3, 2.0) for name in params}
  for rate, expected in ((0.0, 0.1), (0.003, 0.003)):
    rates = {"encoder_learning_rate": 0.02, "pooling_learning_rate": rate}
    tx = optimizers.adam(config_of(**rates), 10)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["output"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(updates["encoder"], -0.02, rtol=1e-5)
    np.testing.assert_allclose(updates["pool"], -expected, rtol=1e-5)
  tx = optimizers.adam(config_of(**rates), 10, draws_encoder=True)
  updates, _ = tx.update(grads, tx.init(params), params)
  np.testing.assert_allclose(updates["encoder"], -0.1, rtol=1e-5)


def test_accumulated_batches_are_one_large_one():
  params = {"output": jnp.ones(3)}
  grads = [{"output": jnp.array([1.0, -2.0, s])} for s in (0.5, 1.5)]
  once, twice = (
    optimizers.adam(config_of(accumulate=n, encoder_learning_rate=0.1), 10)
    for n in (1, 2)
  )
  mean = jax.tree.map(lambda a, b: (a + b) / 2, *grads)
  expected, _ = once.update(mean, once.init(params), params)
  state = twice.init(params)
  nothing, state = twice.update(grads[0], state, params)
  found, _ = twice.update(grads[1], state, params)
  np.testing.assert_array_equal(nothing["output"], 0)
  np.testing.assert_allclose(found["output"], expected["output"], rtol=1e-5)


def test_the_best_weights_are_kept():
  learner = fit.init_learner(optax.sgd(0.1), {"params": {"w": jnp.zeros(2)}})
  best = fit.init_best(learner)
  scores, kept = [0.3, 0.5, 0.4, 0.5], []
  for number, score in enumerate(scores, start=1):
    learner = learner.replace(params={"w": jnp.full(2, float(number))})
    best = fit.keep_best(best, learner, score, number)
    kept.append((float(best.params["w"][0]), int(best.when)))
  assert kept == [(1, 1), (2, 2), (2, 2), (2, 2)]


def test_training_clips_are_augmented():
  loud = Settings(gain_probability=1.0, gain_db=(20.0, 20.0))
  encoder = Wav2Vec2(TINY, do_normalize=False)
  system = dataclasses.replace(SYSTEM, encoder=encoder)
  plain = Recipe(system, system.model())
  recipe = dataclasses.replace(plain, augmentation=loud)
  classifier = make(0, system)
  batch = make_batch()
  batch["inputs"] //= 20
  louder = {**batch, "inputs": 10 * batch["inputs"]}
  _, _, augmented = one_step(classifier, recipe, optax.sgd(0.1), batch)
  _, _, by_hand = one_step(classifier, plain, optax.sgd(0.1), louder)
  assert augmented["emotion_loss"] == pytest.approx(
    float(by_hand["emotion_loss"]), rel=1e-5
  )


def test_class_weights_are_scikit_learns():
  from sklearn.utils.class_weight import compute_class_weight

  labels = np.array([0, 0, 0, 1, 2, 2])
  expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
  np.testing.assert_allclose(fit.class_weights(labels, 3), expected)


def test_wavlms_shared_bias_stays_with_the_first_layer():
  encoder = dataclasses.replace(TINY, model_type="wavlm")
  system = dataclasses.replace(SYSTEM, encoder=Wav2Vec2(encoder))
  trained, frozen = make(1, system).init(jax.random.key(0))
  assert set(trained["encoder"]["encoder"]) == {"layers_1"}
  assert (
    "rel_attn_embed" in frozen["encoder"]["encoder"]["layers_0"]["attention"]
  )
