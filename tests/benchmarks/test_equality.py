"""Two processes in two network namespaces, as on two hosts; and the compare.

A whole study over them is in `experiments/benchmarks/equality.json`.
"""

import os
import sys

import numpy as np
import pytest

from experiments.benchmarks import demos, equality

# A step of gradient descent, a quarter of the batch on each of four devices.
STEP = """
import sys
from emojax.runtime import hosts, sharding
address, number, count = [one.split("=")[1] for one in sys.argv[2:]]
hosts.begin(address, int(number), int(count))
import jax
import jax.numpy as jnp
import numpy as np

mesh = sharding.make_mesh(jax.device_count())
assert jax.device_count() == 4 and jax.local_device_count() == 2
batch = sharding.place(np.arange(12.0).reshape(4, 3), mesh, sharding.DATA)
weights = sharding.place(np.ones(3), mesh, sharding.REPLICATED)
step = jax.jit(lambda w, x: w - jax.grad(lambda w: ((x @ w) ** 2).mean())(w))
# The gradient of the mean of (x w)^2 is 2 x (x w), over the batch.
rows = np.arange(12.0).reshape(4, 3)
expected = 1 - (2 * rows * rows.sum(1, keepdims=True)).mean(0)
np.testing.assert_allclose(step(weights, batch), expected, rtol=1e-6)
"""


@pytest.fixture
def spaces():
  hosts = equality.two_hosts("emojax-t")
  try:
    found = hosts.__enter__()
  except (PermissionError, FileNotFoundError) as error:
    pytest.skip(f"no network namespaces can be made here: {error}")
  yield found
  hosts.__exit__(None, None, None)


def test_two_hosts_take_a_step_together(spaces):
  flags = "--xla_force_host_platform_device_count=2"
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
  commands = [
    ("ip", "netns", "exec", space, sys.executable, "-c", STEP)
    for space in spaces
  ]
  # It raises where one of them fails.
  equality.together(commands, environment, equality.host_address(0))


def test_what_differs_is_found():
  one = {
    "summary.json/a": 1.0,
    "summary.json/n": 3,
    "summary.json/word": "yes",
    "history.npz/x": np.arange(3.0),
    "model/weights.safetensors": b"0",
  }
  same = equality.compare(one, dict(one))
  assert same["largest_difference_of_summary"] == 0
  assert same["largest_difference_of_history"] == 0
  other = {**one, "summary.json/n": 5, "history.npz/x": np.array([0, 1, 2.5])}
  other["summary.json/word"] = "no"
  other["summary.json/new"] = other.pop("summary.json/a")
  found = equality.compare(one, other)
  assert found["largest_difference_of_summary"] == 2
  assert found["where_in_summary"] == "summary.json/n"
  assert found["largest_difference_of_history"] == 0.5
  assert found["other_names"] == ["summary.json/a", "summary.json/new"]
  assert found["other_words"] == ["summary.json/word"]
  assert demos.differing(one, dict(one)) == []
  assert demos.differing(one, other) == sorted(
    [
      *found["other_names"],
      *found["other_words"],
      "history.npz/x",
      "summary.json/n",
    ]
  )
