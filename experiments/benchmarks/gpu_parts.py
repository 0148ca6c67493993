"""The parts of `gpu.py`: each measures one thing and writes what it finds.

  python -m experiments.benchmarks.gpu_parts PART [--tiny] OUT.json

A part gets `save`, which writes what has been found so far, and whether the
sizes are to be tiny, for a CPU.
"""

import argparse
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from emojax.runtime import files
from experiments.benchmarks import measure

_ATTENTION = re.compile(r"__cudnn\$fmha\w*")


def attention(save, tiny: bool) -> None:
  """What the other numbers were measured with; whether cuDNN's attention is on.

  It is if the compiled program calls it, forward and backward; HuBERT base's
  shape, bfloat16, with a mask of padding.
  """
  from emojax.kernels import attention as kernels

  shape = (1, 16, 1, 8) if tiny else (8, 249, 12, 64)
  rng = np.random.default_rng(0)
  query, key, value = jnp.asarray(rng.normal(size=(3, *shape)), jnp.bfloat16)
  mask_BxS = (
    jnp.arange(shape[1])[None] < shape[1] - jnp.arange(shape[0])[:, None]
  )

  def loss(*operands):
    return (kernels.attend(*operands, mask_BxS).astype(jnp.float32) ** 2).sum()

  compiled = (
    jax.jit(jax.grad(loss, (0, 1, 2))).lower(query, key, value).compile()
  )
  calls = cudnn_calls(compiled)
  seconds = [
    measure.seconds(lambda: jax.block_until_ready(compiled(query, key, value)))
    for _ in range(6)
  ]
  save(
    {
      **measure.setting("jaxlib", "flax", "numpy"),
      "cudnn_attention": bool(calls),
      "calls": calls,
      "gradient_seconds": measure.summary(seconds[1:]),
    }
  )


def cudnn_calls(compiled) -> list[str]:
  """The kernels of cuDNN's attention that a compiled program calls."""
  return sorted(set(_ATTENTION.findall(compiled.as_text())))


def augmentation(save, tiny: bool) -> None:
  """The whole chain on the GPU against one core of the host.

  The core runs emojax itself, and audiomentations where it is installed.
  """
  from experiments.benchmarks import augment

  count, turns = (4, 1) if tiny else (256, 5)
  seconds = augment.seconds_a_clip(count, turns)
  found = {
    "clips": count,
    "clip_seconds": augment.SECONDS,
    "seconds_per_clip": measure.summary(seconds),
    "goal_times_faster": 100,
  }
  save(found)
  for name in ("emojax", "audiomentations"):
    found[f"{name}_on_one_core"] = _on_one_core(name, min(count, 16), turns)
    if isinstance(theirs := found[f"{name}_on_one_core"], dict):
      ratio = theirs["median"] / np.median(seconds)
      found[f"times_faster_than_{name}_on_one_core"] = float(ratio)
    save(found)


def _on_one_core(name: str, count: int, turns: int) -> dict | str:
  """Seconds a clip in another process, or what it says if it can not."""
  code = (
    "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    "from experiments.benchmarks import augment, measure;"
    "import json; name, count, turns = sys.argv[1:];"
    "function = {'emojax': augment.seconds_a_clip,"
    " 'audiomentations': augment.reference_seconds_a_clip}[name];"
    "print(json.dumps(measure.summary(function(int(count), int(turns)))))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, name, str(count), str(turns)],
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    encoding="utf-8",
  )
  lines = (done.stderr if done.returncode else done.stdout).splitlines()
  return lines[-1][:300] if done.returncode else json.loads(lines[-1])


def rlps(save, tiny: bool) -> None:
  """The selection pass, and an epoch against the classifier alone."""
  from experiments.benchmarks import rlps as benchmark

  images, turns = (256, 1) if tiny else (benchmark.RAFDB, 5)
  config = benchmark.make_config()
  if tiny:
    config.model.widths = (8,) * 6
  ours = benchmark.Emojax(config, benchmark.make_part(config, images))
  everything_N = np.ones(images, bool)
  times = {name: [] for name in (*benchmark.PARTS, "training alone")}
  for _ in range(turns + 1):
    for name, values in times.items():
      arguments, method = (), name
      if name == "train":
        arguments = (ours.retained_N,)
      elif name == "training alone":
        arguments, method = (everything_N,), "train"
      values.append(measure.seconds(getattr(ours, method), *arguments))
    # The first turn compiles.
    whole = np.sum([times[name][1:] for name in benchmark.PARTS], axis=0)
    if len(whole):
      alone = times["training alone"][1:]
      save(
        {
          "images": images,
          "retained": int(ours.retained_N.sum()),
          "seconds": {n: measure.summary(v[1:]) for n, v in times.items()},
          "goal_pass_seconds": 0.5,
          "epoch_over_training_alone": measure.ratios(whole, alone),
          "goal_epoch_over_training_alone": 1.15,
        }
      )


def table2(save, tiny: bool) -> None:
  """200 trainings of 200 epochs, as the study runs them: Table 2's.

  Five settings, C1 and DANN, 20 initialisations, random features of IEMOCAP's
  shape; every epoch is evaluated.
  """
  from experiments.benchmarks import table2 as benchmark

  start = time.perf_counter()
  study = benchmark.make_study(tiny)
  states = study.training.init()
  states = study.epoch(states, 0)
  found = {
    "trainings": study.num_trainings,
    "epochs": study.num_epochs,
    "steps_of_an_epoch": study.num_steps,
    "goal_seconds": 60,
    "seconds_to_the_end_of_the_first_epoch": time.perf_counter() - start,
  }
  states, start = study.training.init(), time.perf_counter()
  for epoch in range(study.num_epochs):
    states = study.epoch(states, epoch)
    if (epoch + 1) % 10 == 0 or epoch + 1 == study.num_epochs:
      seconds = time.perf_counter() - start
      found |= {
        "epochs_done": epoch + 1,
        "seconds": seconds,
        "seconds_of_all_epochs_at_this_rate": seconds
        * (study.num_epochs / (epoch + 1)),
      }
      save(found)
  start = time.perf_counter()
  for epoch in range(min(10, study.num_epochs)):
    states = study.epoch(states, epoch, evaluates=False)
  save(found | {"without_evaluation_10_epochs": time.perf_counter() - start})


def determinism(save, tiny: bool) -> None:
  """The same short trainings in two processes: whether all bits are equal.

  With and without XLA's deterministic operations; all four processes run at the
  same time, and none sees what another one has compiled.
  """
  flag = "--xla_gpu_deterministic_ops=true"
  runs = {}
  for name, flags in (("plain", ""), ("deterministic_ops", flag)):
    environment = os.environ | {
      "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip(),
      "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
      "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    command = [sys.executable, "-m", "experiments.benchmarks.short_trainings"]
    command += ["--tiny"] if tiny else []
    runs[name] = [
      subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
      )
      for _ in "12"
    ]
  found = {name: {} for name in runs}
  for training in ["speech"] if tiny else ["speech", "rlps", "dann"]:
    for name, pair in runs.items():
      one, other = (json.loads(process.stdout.readline()) for process in pair)
      losses = np.array([one["losses"], other["losses"]])
      found[name][training] = {
        "equal": one == other,
        "largest_difference_of_losses": float(np.ptp(losses, axis=0).max()),
        "losses": one["losses"],
      }
    save(found)


def encoders(save, tiny: bool) -> None:
  """HuBERT base: forward and a training step, against PyTorch."""
  from experiments.benchmarks import encoders as benchmark

  benchmark.on_gpu(save, tiny)


def kernels(save, tiny: bool) -> None:
  """The forms that a GPU has of its own, against the CPU's, on the GPU."""
  from experiments.benchmarks import gpu_kernels as benchmark

  benchmark.on_gpu(save, tiny)


def digest(tree) -> str:
  """SHA-256 of all numbers of a tree."""
  sha = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(tree)):
    sha.update(np.ascontiguousarray(leaf).tobytes())
  return sha.hexdigest()


PARTS = (
  *(attention, augmentation, rlps, kernels),
  *(encoders, determinism, table2),
)


def _save(output: pathlib.Path, found: dict) -> None:
  with files.whole(output) as path:
    measure.write(found, path)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parts = {part.__name__: part for part in PARTS}
  parser.add_argument("part", choices=parts)
  parser.add_argument("output", type=pathlib.Path, help="JSON file to write")
  parser.add_argument("--tiny", action="store_true")
  flags = parser.parse_args()
  save = functools.partial(_save, flags.output)
  parts[flags.part](save, flags.tiny)


if __name__ == "__main__":
  main()
