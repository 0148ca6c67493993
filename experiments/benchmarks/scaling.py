"""Weak scaling of the three studies' steps on simulated devices.

  python -m experiments.benchmarks.scaling --output=scaling.json

1, 2, 4 and 8 devices, each with the same work: clips or images of a batch, runs
of DANN. All of them are this machine's cores, so nothing becomes faster: n
devices have n times the work for the same cores, and would take n times as long
if cutting, sending and waiting cost nothing. What is measured is how much they
cost: the seconds of n devices over n times those of one, by the clock and of
the CPU. Each number of devices is a process of its own; they take turns.

Also: what one device sends in a step, as the compiled program has it.
"""

import argparse
import multiprocessing
import os
import pathlib
import re
import tempfile
import time

import numpy as np

from experiments.benchmarks import measure

DEVICES = (1, 2, 4, 8)
CLIPS, IMAGES, RUNS = 4, 32, 4  # Of a device.
STEPS = 2  # Of a round; DANN: an epoch.
_WIDTHS = {"f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "pred": 1}
_ALL_REDUCE = re.compile(r"= (.*) all-reduce(?:-start)?\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def speech(devices: int):
  """A round of the log-mel classifier, with its validation."""
  from experiments.benchmarks import speech as benchmark

  config = benchmark.config_of("log_mel", None)
  config.batch_size = CLIPS * devices
  count = 3 * STEPS * config.batch_size
  training = benchmark.make_training(config, "log_mel", count)
  study = training.study(0)
  states = [study.init()]

  def round_():
    # There is no end to the rounds that are measured: always the first one.
    states[0], record = study.round(states[0], 0)
    return record

  return round_, states[0].learner.params


def rlps(devices: int):
  """An epoch of the classifier."""
  import jax

  from emojax.systems import classifiers
  from emojax.trainers import fit
  from emojax.trainers import rlps as trainer
  from experiments.benchmarks import rlps as benchmark

  config = benchmark.make_config()
  config.model.widths = (16, 32, 64, 64, 64, 64)
  config.batch_size = IMAGES * devices
  part = benchmark.make_part(config, STEPS * config.batch_size)
  described = classifiers.describe(config, benchmark.CLASSES)
  examples = fit.Examples(
    classifiers.of(described),
    {"train": part},
    trainer.optimizer(config),
    config.batch_size,
  )
  key = jax.random.key(0)
  states = [examples.learner(examples.draw(key))]

  def epoch():
    states[0], loss = examples.epoch(states[0], np.arange(len(part)), key)
    return loss

  return epoch, states[0].params


def dann(devices: int):
  """A round of runs side by side, half of them C1."""
  from configs import dann as dann_config
  from emojax.data import conversations
  from emojax.trainers import dann as trainer
  from emojax.trainers import run_axis
  from experiments.benchmarks import table2

  config = dann_config.get_config("table2")
  config.stabilised.enabled = False
  config.baselines = ()
  config.split.labelled_sessions = ("23",)
  config.num_replicates = RUNS * devices // 2
  config.num_epochs = 1
  corpus = table2.make_corpus(config, {"audio": 768, "text": 256})
  cohorts = trainer.make_cohorts(config, corpus, ())
  conversations.share_shapes([cohort.setting for cohort in cohorts])
  program = trainer.make_program(config, corpus, averages=False)
  training = run_axis.Training({"": program}, cohorts, config.seed)
  states = [training.init()]

  def round_():
    states[0], record = training.round(states[0], 0)
    return record

  return round_, {}  # Runs have nothing to tell each other.


STUDIES = {"speech": speech, "rlps": rlps, "dann": dann}


def serve(pipe, devices: int) -> None:
  """A number of devices: told a study, it runs a round and answers seconds.

  First it tells, when all is compiled, the bytes of what each study trains with
  gradients that are meaned over the devices.
  """
  import jax
  from absl import flags

  flags.FLAGS(["scaling"])
  assert jax.device_count() == devices
  studies, sizes = {}, {}
  for name, make in STUDIES.items():
    studies[name], params = make(devices)
    sizes[name] = sum(x.nbytes for x in jax.tree.leaves(params))
    jax.block_until_ready(studies[name]())  # Compiles.
  pipe.send(sizes)
  while (name := pipe.recv()) is not None:
    clock, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(studies[name]())
    pipe.send((time.perf_counter() - clock, time.process_time() - cpu))


def reduced_bytes(folder: pathlib.Path) -> list[int]:
  """What each dumped program with an all-reduce sums up over the devices."""
  found = []
  for path in sorted(folder.glob("*after_optimizations.txt")):
    text = path.read_text(encoding="utf-8")
    if shapes := _ALL_REDUCE.findall(text):
      found.append(sum(map(_bytes, shapes)))
  return found


def _bytes(shapes: str) -> int:
  """Of `f32[3,4]{1,0}`, or of a tuple of such arrays."""
  return sum(
    _WIDTHS[kind] * int(np.prod([int(n) for n in sizes.split(",") if n]))
    for kind, sizes in _ARRAY.findall(shapes)
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--turns", type=int, default=5)
  flags = parser.parse_args()
  os.environ["JAX_PLATFORMS"] = "cpu"
  context = multiprocessing.get_context("spawn")
  workers, dumps = {}, {}
  with tempfile.TemporaryDirectory() as folder:
    for devices in DEVICES:
      dumps[devices] = pathlib.Path(folder, str(devices))
      os.environ["XLA_FLAGS"] = (
        f"--xla_force_host_platform_device_count={devices} "
        f"--xla_dump_to={dumps[devices]} --xla_dump_hlo_as_text"
      )
      pipe, theirs = context.Pipe()
      process = context.Process(target=serve, args=(theirs, devices))
      process.start()
      theirs.close()
      workers[devices] = process, pipe
      sizes = pipe.recv()  # One after the other.
      print(devices, "ready", flush=True)
    sent = {devices: reduced_bytes(dumps[devices]) for devices in DEVICES}
  times = {n: {name: [] for name in STUDIES} for n in DEVICES}
  for _ in range(flags.turns):
    for name in STUDIES:
      for devices, (_, pipe) in workers.items():
        pipe.send(name)
        times[devices][name].append(pipe.recv())
  for process, pipe in workers.values():
    pipe.send(None)
    process.join()
  result = {
    **measure.setting("jaxlib", "flax"),
    "work_of_a_device": {
      "speech": f"{STEPS} steps of {CLIPS} clips, and a validation",
      "rlps": f"{STEPS} steps of {IMAGES} images",
      "dann": f"an epoch of {RUNS} runs",
    },
    "bytes_of_parameters": sizes,
    "bytes_that_programs_sum_over_devices": sent,
    "studies": {
      name: {n: _row(times, name, n) for n in DEVICES} for name in STUDIES
    },
  }
  measure.write(result, flags.output)
  for name, rows in result["studies"].items():
    print(
      name,
      *(
        f"{n}: {row['clock_over_ideal']['median']:.2f} "
        f"(CPU {row['cpu_over_ideal']['median']:.2f})"
        for n, row in rows.items()
      ),
    )


def _row(times: dict, name: str, devices: int) -> dict:
  """Seconds of a round, and over n times those of one device, by turn."""
  one, of = np.array(times[1][name]), np.array(times[devices][name])
  clock, cpu = (of / (devices * one)).T
  return {
    "seconds": measure.summary(of[:, 0].tolist()),
    "cpu_seconds": measure.summary(of[:, 1].tolist()),
    "clock_over_ideal": measure.summary(clock.tolist()),
    "cpu_over_ideal": measure.summary(cpu.tolist()),
  }


if __name__ == "__main__":
  main()
