"""Who stays, by count and by class."""

import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.trainers.rlps import rewards, strategies
from emojax.trainers.rlps.strategies import POLICY, SYSTEMS


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_the_first_are_retained(count):
  score = np.array([0.3, 0.9, 0.1, 0.9, -0.2, 0.5, 0.3])
  found = np.asarray(strategies.first_of(jnp.asarray(score), count))
  # Of equals the first.
  best = sorted(range(7), key=lambda i: (-score[i], i))[:count]
  assert np.flatnonzero(found).tolist() == sorted(best)


@pytest.mark.parametrize("floor", ["0.01", "0.1", "0.3", "0.7", "0.99"])
def test_a_share_of_each_class_is_retained(floor):
  rng = np.random.default_rng(0)
  label = rng.permutation(np.repeat(np.arange(5), (50, 30, 10, 1, 0)))
  probability = rng.random(len(label)).astype(np.float32)
  # A class is retained, others mostly or entirely not.
  threshold = np.array([0.0, 0.9, 0.5, 1.0, 1.0])
  retained = probability >= threshold[label]
  found = np.asarray(
    jax.jit(strategies.with_floor, static_argnums=(3, 4))(
      retained, probability, label, 5, float(floor)
    )
  )
  assert found[retained].all()
  for index in range(5):
    rows = np.flatnonzero(label == index)
    least = math.ceil(fractions.Fraction(floor) * len(rows))
    assert found[rows].sum() == max(retained[rows].sum(), least)
    back = rows[found[rows] & ~retained[rows]]
    gone = rows[~found[rows]]
    if len(back) and len(gone):
      assert probability[back].min() >= probability[gone].max()


def test_an_image_is_not_retained_for_another_class():
  label = np.array([0, 0, 0, 1])
  found = strategies.with_floor(
    jnp.zeros(4, bool), jnp.array([0.4, 0.3, 0.2, 0.01]), label, 2, 0.3
  )
  assert found.tolist() == [True, False, False, True]


def test_systems():
  assert [n for n, one in SYSTEMS.items() if one.is_rival] == [
    "small_loss",
    "random",
  ]
  for one in SYSTEMS.values():
    assert (one.strategy == POLICY) == (one.reward in rewards.REWARDS)
    assert (one.strategy == POLICY) == (one.policy in ("network", "logistic"))
