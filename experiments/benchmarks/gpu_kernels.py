"""What takes another form on a GPU than on a CPU: both forms, on the GPU.

The selection pass of RLPS in blocks against one image after the other; a
training step of DANN with the gates of its GRUs found anew, in bulk, against
kept ones; augmentation without conditions against with them. All is built at
the same time, since compiling is what takes long; then the forms take turns.
"""

import concurrent.futures
import contextvars
import functools
import glob
import gzip
import json
import tempfile
import types

import jax
import jax.numpy as jnp
import numpy as np

from configs import rlps as rlps_config
from emojax.audio import augment as augment_module
from emojax.audio import vocoder
from emojax.kernels import gru
from emojax.models import selector
from experiments.benchmarks import augment, dann, measure, rlps

FORMS = ("cpu", "gpu")
_BUILDING = 40  # Seconds until which nothing is measured.
_FORM = contextvars.ContextVar("form")


def on_gpu(save, tiny: bool) -> None:
  """Builds all, measures in turn, counts launches; see `gpu.py`."""
  for module in (gru, selector, augment_module, vocoder):
    module.target = types.SimpleNamespace(platform=_FORM.get)
  problem = dann.Problem(1)
  cases = {"selection pass": functools.partial(_selection, tiny)}
  for runs in (1, 2 if tiny else 20):
    cases[f"dann epoch, runs at once: {runs}"] = functools.partial(
      _dann_epoch, problem, runs
    )
  for clips in (2, 4) if tiny else (32, 256):
    cases[f"augmentation, clips: {clips}"] = functools.partial(
      _augmentation, clips
    )
  found = {
    "forms": "seconds of the CPU's form and of the GPU's, on this device",
    "times_faster": "the CPU's over the GPU's, turn by turn",
    "steps_of_a_dann_epoch": problem.plan.num_steps,
  }
  pool = concurrent.futures.ThreadPoolExecutor(4 if tiny else 10)
  building = {
    name: {form: pool.submit(_build, case, form) for form in FORMS}
    for name, case in cases.items()
  }
  everything = [side for sides in building.values() for side in sides.values()]
  concurrent.futures.wait(everything, _BUILDING)
  is_late = {
    name: not all(side.done() for side in sides.values())
    for name, sides in building.items()
  }
  measured = {}
  for name in sorted(building, key=is_late.get):
    sides = building[name]
    failures = {form: side.exception() for form, side in sides.items()}
    if any(failures.values()):
      found[name] = {f: f"{e!r}"[:300] for f, e in failures.items() if e}
    else:
      measured[name] = {form: side.result() for form, side in sides.items()}
      found[name] = _measured(measured[name], 1 if tiny else 7)
      found[name]["others_were_compiling"] = is_late[name]
    save(found)
  for name, sides in measured.items():
    if name != "selection pass":  # The CPU's form has 135,000.
      found[name]["launches"] = {f: launches(s) for f, s in sides.items()}
      save(found)


def _build(case, form: str):
  """A function that is compiled in a form, after its first call."""
  _FORM.set(form)
  function = case()
  function()
  return function


def _measured(sides, turns: int) -> dict:
  """Seconds of both forms in turn, and how far their results are apart."""
  difference = np.abs(np.subtract(*(side() for side in sides.values())))
  times = {form: [] for form in sides}
  for _ in range(turns):
    for form, side in sides.items():
      times[form].append(measure.seconds(side))
  return {
    "seconds": {form: measure.summary(v) for form, v in times.items()},
    "times_faster": measure.ratios(*times.values()),
    "largest_difference": float(difference.max()),
    "mean_difference": float(difference.mean()),
  }


def _selection(tiny: bool):
  """A pass over RAF-DB; gives the decisions."""
  config = rlps_config.get_config("ferplus")
  policy = selector.PolicyNetwork(tuple(config.policy.widths))
  rng = np.random.default_rng(0)
  shape = 1500 if tiny else rlps.RAFDB, config.model.hidden
  features_NxD = np.maximum(rng.normal(size=shape), 0).astype(np.float32)
  order_N = rng.permutation(len(features_NxD))
  uniform_N = rng.random(len(features_NxD), np.float32)
  init = jax.jit(policy.init)
  params = init(jax.random.key(0), jnp.zeros((1, 2 * shape[1])))["params"]
  operands = jax.device_put((params, features_NxD, order_N, uniform_N))
  select = jax.jit(lambda *operands: selector.select(policy, *operands))
  return lambda: np.asarray(select(*operands).retained_N, np.float32)


def _dann_epoch(problem: dann.Problem, runs: int):
  """Training of one epoch; gives the losses of its last step."""
  training = dann.Emojax(problem, runs)
  batches = problem.plan.epoch(0)

  def epoch():
    for batch in batches:
      metrics = training.step(batch)
    return np.asarray(metrics["emotion_loss"])

  return epoch


def _augmentation(clips: int):
  """The whole chain; gives nothing, since chance goes on in each call."""
  ours = augment.Emojax(augment.make_clips(clips), augment.everything())

  def chain():
    ours()
    return 0.0

  return chain


def launches(function) -> int:
  """How often a function has the GPU begin something; 0 on a CPU."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      function()
    (name,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
    with gzip.open(name) as file:
      events = json.load(file)["traceEvents"]
  streams = {
    (event["pid"], event["tid"])
    for event in events
    if event.get("name") == "thread_name"
    and event["args"]["name"].startswith("Stream")
  }
  return sum(
    event.get("ph") == "X" and (event["pid"], event["tid"]) in streams
    for event in events
  )
