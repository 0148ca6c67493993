"""How long the demos take to their first step, and a run to its prediction.

  python -m experiments.benchmarks.startup \
      --output=experiments/benchmarks/startup.json

Every measurement is a process of its own. Cold: with an empty cache folder, so
that the demo corpus is rendered, features are extracted and every program is
compiled. Warm: with what the cold one left there. A first step is that of the
classifier on its first batch, with its result. One more process each is asked
what its imports take, one by one. CPU seconds, of all threads, say what the
clock would on a machine that others use less. `--checkout=FOLDER` measures
another version of emojax.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

DEMOS = ("dann", "speech", "rlps")
_COMPILED = "/jax/core/compile/backend_compile_duration"
_HELP = ("-m", "emojax", "predict", "--help")


def first_step(config: str, began: float, output: str) -> None:
  """Trains as `launch.py` does, until after the first step; then exits.

  Writes to `output` the seconds since `began`, and those of each program.
  """
  from emojax.runtime import process

  process.begin()
  import jax

  from emojax import training
  from emojax.runtime import sharding

  programs = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **about: (
      programs.append((about.get("fun_name", ""), seconds))
      if event == _COMPILED
      else None
    )
  )

  def ending(make):
    def made(function, *args, donate_argnums=(), **kwargs):
      compiled = make(function, *args, donate_argnums=donate_argnums, **kwargs)

      def step(*inputs):
        jax.block_until_ready(compiled(*inputs))
        found = {
          "seconds": time.time() - began,
          "cpu_seconds": time.process_time(),
          "programs": programs,
        }
        pathlib.Path(output).write_text(json.dumps(found), encoding="utf-8")
        os._exit(0)

      # Nothing but the step takes the memory of its first argument, a state.
      return step if tuple(donate_argnums) == (0,) else compiled

    return made

  sharding.mapped = ending(sharding.mapped)
  sharding.compiled = ending(sharding.compiled)
  folder = tempfile.mkdtemp()
  training.main(
    ["launch.py", f"--config={config}", f"--workdir={folder}/run"], ""
  )
  raise RuntimeError(f"{config}: it was trained without a step that was seen")


def python(checkout: str, cache: str, *arguments: str) -> str:
  """Runs Python on arguments with a cache folder; what it says of itself."""
  variables = {"XDG_CACHE_HOME": cache, "PYTHONPATH": checkout}
  done = subprocess.run(
    [sys.executable, *arguments],
    cwd=checkout,
    env=os.environ | variables,
    capture_output=True,
    text=True,
    encoding="utf-8",
  )
  if done.returncode:
    raise RuntimeError(f"{arguments} ended so:\n{done.stderr[-2000:]}")
  return done.stderr


def timed(*arguments: str) -> tuple[float, float]:
  """Seconds by the clock and of the CPU that `python` takes."""
  start, before = time.perf_counter(), _cpu_seconds()
  python(*arguments)
  return time.perf_counter() - start, _cpu_seconds() - before


def _cpu_seconds() -> float:
  """Of all processes that were started here and have ended."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def demo(
  checkout: str, name: str, cache: str, *options: str
) -> tuple[dict, str]:
  """One start of a demo: what `first_step` writes; stderr."""
  with tempfile.TemporaryDirectory() as folder:
    output = f"{folder}/found.json"
    config = f"configs/{name}.py"
    said = python(
      *(checkout, cache, *options, str(pathlib.Path(__file__).absolute())),
      *("--child", config, str(time.time()), output),
    )
    found = json.loads(pathlib.Path(output).read_text(encoding="utf-8"))
  return found, said


def imports(said: str) -> dict[str, float]:
  """Seconds of each package, without those that it imports; the largest."""
  seconds: dict[str, float] = collections.Counter()
  for own, name in re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", said):
    seconds[name.partition(".")[0]] += int(own) / 1e6
  largest = sorted(seconds.items(), key=lambda one: -one[1])[:12]
  return {
    "all": round(sum(seconds.values()), 3),
    **{name: round(value, 3) for name, value in largest},
  }


def programs(found: dict) -> dict:
  """Programs by name: how many, and the seconds that they took."""
  seconds = collections.defaultdict(list)
  for name, value in found["programs"]:
    seconds[name].append(value)
  ordered = sorted(seconds.items(), key=lambda one: -sum(one[1]))
  return {
    "count": sum(map(len, seconds.values())),
    "seconds": round(sum(map(sum, seconds.values())), 2),
    "largest": {
      name: {"count": len(values), "seconds": round(sum(values), 2)}
      for name, values in ordered[:8]
    },
  }


def times(cold: tuple[float, float], warm: list[tuple[float, float]]) -> dict:
  """Seconds by the clock and of the CPU, the warm ones in ascending order."""
  return {
    "cold_seconds": round(cold[0], 2),
    "warm_seconds": sorted(round(clock, 2) for clock, _ in warm),
    "cold_cpu_seconds": round(cold[1], 2),
    "warm_cpu_seconds": sorted(round(cpu, 2) for _, cpu in warm),
  }


def measure_demo(checkout: str, name: str, turns: int) -> dict:
  """A demo, cold once and warm in some turns."""
  with tempfile.TemporaryDirectory() as cache:
    starts = [demo(checkout, name, cache)[0] for _ in range(1 + turns)]
    _, said = demo(checkout, name, cache, "-X", "importtime")
  cold, *warm = [(one["seconds"], one["cpu_seconds"]) for one in starts]
  return {
    **times(cold, warm),
    "programs_cold": programs(starts[0]),
    "programs_warm": programs(starts[-1]),
    "imports": imports(said),
  }


def measure_prediction(checkout: str, turns: int) -> dict:
  """`predict` of a log-mel run on one clip, as a whole process."""
  with tempfile.TemporaryDirectory() as folder:
    run, training, cache = f"{folder}/run", f"{folder}/training", f"{folder}/c"
    python(
      *(checkout, training, "launch.py", "--config=configs/speech.py"),
      *("--config.model.encoder=log_mel", "--config.num_epochs=1"),
      *("--config.num_replicates=1", f"--workdir={run}"),
    )
    clip = next(pathlib.Path(training).rglob("*.wav"))
    command = "-m", "emojax", "predict", run, str(clip)
    cold, *warm = [timed(checkout, cache, *command) for _ in range(1 + turns)]
    said = python(checkout, cache, "-X", "importtime", *command)
  return {**times(cold, warm), "imports": imports(said)}


def measure_help(checkout: str, turns: int) -> dict:
  """`predict --help`, as a whole process."""
  found = [timed(checkout, "", *_HELP) for _ in range(turns)]
  said = python(checkout, "", "-X", "importtime", *_HELP)
  return {
    "seconds": sorted(round(clock, 2) for clock, _ in found),
    "imports": imports(said),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--output", help="a JSON file")
  parser.add_argument("--turns", type=int, default=5, help="warm starts")
  parser.add_argument("--demos", nargs="*", default=DEMOS, choices=DEMOS)
  parser.add_argument("--checkout", default=".", help="of emojax")
  parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child:
    config, began, output = options.child
    first_step(config, float(began), output)
  checkout, turns = (
    str(pathlib.Path(options.checkout).absolute()),
    options.turns,
  )
  found = {
    "help": measure_help(checkout, turns),
    "predict": measure_prediction(checkout, turns),
    **{name: measure_demo(checkout, name, turns) for name in options.demos},
  }
  from experiments.benchmarks import measure

  found |= measure.setting("jaxlib", "flax", "numpy", "scipy")
  text = json.dumps(found, indent=2)
  print(text)
  if options.output:
    pathlib.Path(options.output).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
