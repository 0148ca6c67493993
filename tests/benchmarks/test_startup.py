"""The benchmark of start-up ends with the first step, however that is made."""

import functools
import json
import time

import jax
import jax.numpy as jnp
import pytest

from emojax import training
from emojax.runtime import sharding
from experiments.benchmarks import startup
from tests import processes


def begin(arguments: list[str], make: str) -> None:
  """As its child, with a stand-in for the study."""
  _, output = arguments  # As of a command, whose name comes first.

  def study(*_):
    mesh, spec = sharding.make_mesh(), sharding.REPLICATED
    how = {
      "mapped": lambda: sharding.mapped(
        jnp.sin, mesh, (spec,), spec, donate_argnums=(0,)
      ),
      "compiled": lambda: sharding.compiled(
        jnp.sin, mesh, spec, donate_argnums=(0,)
      ),
      "by itself": lambda: jax.jit(jnp.sin),
    }[make]
    how()(jnp.ones(3))
    print("it goes on")

  training.main = study
  startup.first_step("config.py", time.time(), output)


@pytest.mark.parametrize("make", ["mapped", "compiled", "by itself"])
def test_the_first_step_ends_it(make, tmp_path):
  output = tmp_path / "found.json"
  done = processes.run(functools.partial(begin, make=make), [str(output)])
  if make == "by itself":
    assert done.returncode and "without a step that was seen" in done.stderr
    return
  assert done.returncode == 0, done.stderr
  assert "it goes on" not in done.stdout
  assert json.loads(output.read_text(encoding="utf-8"))["seconds"] > 0
