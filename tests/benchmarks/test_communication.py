"""The communication model against closed forms and a ring of arrays."""

import dataclasses
import math

import numpy as np
import pytest

from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from experiments.benchmarks import communication, encoders
from experiments.benchmarks.communication import Network, Work

FLAT = Network("flat", 1e12, 1, math.inf, 10.0, (0.0, 0.0), "")
NODES = Network("nodes", 1e12, 8, 40.0, 10.0, (0.0, 0.0), "")


def ring_of_arrays(values_nxn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Sums n arrays of n chunks as a ring does; and chunks that each sent."""
  held, sent = values_nxn.copy(), np.zeros(len(values_nxn), int)
  n = len(held)
  for adds, first in ((True, 0), (False, 1)):
    for step in range(n - 1):
      chunks = [(i + first - step) % n for i in range(n)]
      messages = [held[i, chunk] for i, chunk in enumerate(chunks)]
      for i, (chunk, message) in enumerate(zip(chunks, messages, strict=True)):
        right = (i + 1) % n
        held[right, chunk] = held[right, chunk] * adds + message
      sent += 1
  return held, sent


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_ring_sends_what_the_formula_says(n):
  values = np.random.default_rng(n).integers(0, 99, (n, n))
  sums, sent = ring_of_arrays(values)
  assert (sums == values.sum(0)).all()
  size = 1000.0 * n  # Bytes of n chunks.
  assert (1000 * sent == sum(communication.bytes_sent(n, size, 1))).all()
  seconds = communication.ring(n, size, 10.0, 0.5)
  assert seconds == pytest.approx(1000 * sent[0] / 10 + 0.5 * sent[0])


@pytest.mark.parametrize("n", [1, 2, 8, 64, 512])
def test_closed_forms(n):
  size = 4096.0
  ring = 2 * (n - 1) / n * size / 10
  assert communication.all_reduce(n, size, FLAT) == pytest.approx(ring)
  # A tree sends all of it twice, in fewer steps.
  tree = communication.tree(n, size, 10.0, 0.5)
  assert tree == pytest.approx((n > 1) * 2 * size / 10 + math.log2(n))
  # Eight neighbours share the way out: an eighth of it each.
  g, nodes = min(n, 8), max(n // 8, 1)
  both = 2 * (g - 1) / g * size / 40 + 2 * (nodes - 1) / nodes * size / g / 10
  assert communication.all_reduce(n, size, NODES) == pytest.approx(both)
  within, between = communication.bytes_sent(n, size, 8)
  assert within / 40 + between / 10 == pytest.approx(both)
  # Gathered twice and scattered once: three halves of a reduction.
  work = Work("any", 1024, 4, 1e12)
  mean = communication.data_parallel(n, work, NODES, 4)
  assert mean == pytest.approx(both)
  assert communication.fsdp(n, work, NODES, 4) == pytest.approx(1.5 * mean)


def test_latency_makes_a_tree_of_many_small_messages():
  slow = dataclasses.replace(FLAT, hop=(0.0, 1.0))
  assert communication.all_reduce(512, 1.0, slow) == pytest.approx(2 * 9 + 0.2)
  assert communication.all_reduce(4, 1e6, slow) == pytest.approx(1.5e5 + 6)


def test_efficiency_and_what_hides():
  assert communication.efficiency(2.0, 2.0, 0) == 0.5
  assert communication.efficiency(2.0, 2.0, 0.5) == pytest.approx(2 / 3)
  assert communication.efficiency(2.0, 1.0, 0.5) == 1
  work = Work("any", 1000, 2, 4e12)
  assert communication.compute(work, FLAT) == pytest.approx(10)  # MFU 0.4.
  took = 2 / 3 * 10  # As long as the backward pass.
  clips = communication.clips_to_hide(work, took, FLAT)
  assert clips == pytest.approx(communication.CLIPS)
  assert communication.efficiency(10, took, 2 / 3) == 1


def test_what_xla_counts_is_what_the_layers_multiply():
  """HuBERT of two layers, against the sum of its products and convolutions."""
  fields = {**encoders.fields("hubert", "base"), "num_hidden_layers": 2}
  config = SpeechConfig.from_json({"model_type": "hubert", **fields}, "test")
  work = communication.counted("two layers", Wav2Vec2(config), 1)
  clips = communication.CLIPS
  case = encoders.Case("hubert", "base", clips, 1, encoders.STEP)
  products = encoders.floating_point_operations(config, case)
  # The rest is norms, activations and Adam.
  assert products < work.flops < 1.1 * products
  # 12.6 M besides the layers of 7.09 M, of the 94.4 M that are published.
  assert work.parameters == 94_371_712 - 10 * 7_087_872
