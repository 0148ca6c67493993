"""`gpu.sh`: whatever happens to a part, all others are in the file."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from experiments.benchmarks import gpu

ROOT = pathlib.Path(__file__).parents[2]


def python(code: str) -> list[str]:
  """A part: it gets the file to write as its first argument."""
  return [sys.executable, "-c", f"import os, sys, time\n{code}"]


WRITES = "open(sys.argv[1], 'w', encoding='utf-8').write"
HANGS = "time.sleep(600)"
COMMANDS = {
  "fails": python("print('the reason'); sys.exit(3)"),
  "raises": python("[].pop()"),
  "is killed": python(f"{WRITES}('[1'); os.kill(os.getpid(), 9)"),
  "writes, then hangs": python(f"{WRITES}('[1]'); {HANGS}"),
  "finishes": python(f"{WRITES}('[2]')"),
}


def test_no_part_loses_another(tmp_path):
  output = tmp_path / "gpu.json"
  limits = dict.fromkeys(COMMANDS, 30) | {"writes, then hangs": 0.5}
  result = gpu.run(output, COMMANDS, limits, total=60)
  assert json.loads(output.read_text(encoding="utf-8")) == result
  assert os.listdir(tmp_path) == ["gpu.json"]
  outcomes = {n: part["outcome"] for n, part in result["parts"].items()}
  assert list(outcomes.values()) == [
    "exit code 3", "exit code 1", "signal 9", "stopped after 0 s", "finished"
  ]  # fmt: skip
  parts = result["parts"]
  assert [part["found"] for part in parts.values()] == [None] * 3 + [[1], [2]]
  assert parts["fails"]["last_lines"] == ["the reason"]
  assert "pop from empty list" in parts["raises"]["last_lines"][-1]
  assert "last_lines" not in parts["finishes"]


def test_what_comes_too_late_is_stopped_at_once(tmp_path):
  commands = {"first": python(HANGS), "second": python(HANGS)}
  start = time.monotonic()
  result = gpu.run(
    tmp_path / "gpu.json", commands, dict.fromkeys(commands, 60), total=1
  )
  assert time.monotonic() - start < 5
  assert [part["outcome"] for part in result["parts"].values()] == [
    "stopped after 1 s",
    "stopped after 0 s",
  ]


def test_limits_are_below_five_minutes():
  assert sum(gpu.LIMITS[name] for name in gpu.USUAL) < 300


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_of_the_script_loses_nothing(tmp_path, number):
  output = tmp_path / "gpu.json"
  code = (
    "import pathlib, signal, sys\n"
    "from experiments.benchmarks import gpu\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    f"commands = {{'a': {COMMANDS['finishes']!r}, 'b': {python(HANGS)!r}}}\n"
    f"gpu.run(pathlib.Path({str(output)!r}), commands, {{'a': 9, 'b': 99}}, 99)"
  )
  command = [sys.executable, "-c", code]
  with subprocess.Popen(command, cwd=ROOT) as process:
    script = psutil.Process(process.pid)
    while not (output.exists() and script.children()):
      assert process.poll() is None
      time.sleep(0.02)
    (hanging,) = script.children()
    process.send_signal(number)
    process.wait(10)
  parts = json.loads(output.read_text(encoding="utf-8"))["parts"]
  assert {name: part["found"] for name, part in parts.items()} == {"a": [2]}
  if number == signal.SIGTERM:
    assert process.returncode == 143
    assert not hanging.is_running()
  else:
    hanging.kill()


def test_a_kill_while_a_part_starts_leaves_nothing_behind():
  """When the part is there, and nobody has been told its number yet."""
  code = f"""
import os, pathlib, signal, subprocess, sys
from experiments.benchmarks import gpu

class Popen(subprocess.Popen):
  def _execute_child(self, *args):
    super()._execute_child(*args)
    print(self.pid, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Popen
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
gpu.run_part({python(HANGS)!r}, 99)
"""
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 143, done.stderr
  assert not psutil.pid_exists(int(done.stdout))


def test_the_script_on_a_cpu(tmp_path):
  """Its smallest part, really; the others take a minute."""
  command = ["bash", str(ROOT / "experiments/benchmarks/gpu.sh"), "found.json"]
  binaries = str(pathlib.Path(sys.executable).parent)
  done = subprocess.run(
    [*command, "--tiny", "--parts", "attention"],
    cwd=tmp_path,
    env=os.environ
    | {
      "PATH": f"{binaries}:{os.environ['PATH']}",
      "JAX_PLATFORMS": "cpu",
      "PYTHONPATH": "",
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  text = (tmp_path / "found.json").read_text(encoding="utf-8")
  (part,) = json.loads(text)["parts"].values()
  # On a CPU there is no cuDNN, and the file says so.
  assert part["found"]["cudnn_attention"] is False
  assert "JAX on cpu" in part["found"]["device"]
