"""Signals and streams, in processes that import nothing that is slow."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from emojax.runtime import process

ROOT = pathlib.Path(__file__).parents[2]
BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # C, and no bytecode.


def start(script, shell="", **options) -> subprocess.Popen:
  """A program of ours, up to where it prints `ready`, as a shell starts it."""
  head = """
    import hashlib, os, pathlib, signal, sys, time
    from emojax.runtime import process
    process.begin()
  """
  program = textwrap.dedent(head) + textwrap.dedent(script)
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
  started = subprocess.Popen(
    ["sh", "-c", shell or 'exec "$@"', "sh", sys.executable, "-c", program],
    env=os.environ | {"PYTHONPATH": str(ROOT)} | pipes.pop("env", {}),
    text=True,
    **pipes,
  )
  if "ready" in script:
    assert started.stdout.readline() == "ready\n", started.stderr.read()
  return started


def end(started) -> tuple[int, str, str]:
  try:
    out, told = started.communicate(timeout=60)
  finally:
    started.kill()  # One that does not hear would go on for ever.
  return started.returncode, out, told


@pytest.mark.parametrize("number", process.ENDING)
def test_a_signal_ends_a_busy_program_at_once(tmp_path, number):
  script = f"""
    path = pathlib.Path({str(tmp_path / "half")!r})
    with process.resumable(), process.undone(path.unlink):
      path.touch()
      print("ready")
      {BUSY}
  """
  started = start(script)
  started.send_signal(number)
  line = "stopped; the same command goes on from there\n"
  assert end(started) == (128 + number, "", line)
  assert not list(tmp_path.iterdir())


def test_a_callback_of_the_garbage_collector_swallows_no_signal():
  script = """
    import gc
    def callback(phase, info):
      os.kill(os.getpid(), signal.SIGINT)
      for _ in range(10**8): pass
    gc.callbacks.append(callback)
    gc.collect()
  """
  assert end(start(script)) == (130, "", "stopped\n")


def test_who_waits_for_a_signal_is_told_and_goes_on():
  script = """
    told = []
    with process.on_stop(told.append):
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(0.2)
    print(told)
  """
  assert end(start(script)) == (0, "[15]\n", "")


def test_who_is_told_and_goes_on_is_not_ended_by_a_late_thread():
  script = """
    sys.setswitchinterval(30)  # No other thread runs before this one waits.
    with process.on_stop(lambda number: None):
      os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
    print("went on")
  """
  assert end(start(script)) == (0, "went on\n", "")


def test_what_is_ignored_stays_so():
  script = """
    os.kill(os.getpid(), signal.SIGHUP)
    with process.on_stop(print):
      os.kill(os.getpid(), signal.SIGHUP)
    print("done")
  """
  shell = "trap '' HUP; exec \"$@\""  # As `nohup` does.
  assert end(start(script, shell)) == (0, "done\n", "")


PRINTS = """
  for _ in range(3):
    print("a line")
  sys.exit(process.exit_code(0))
"""


def test_a_reader_that_has_gone():
  read, write = os.pipe()
  os.close(read)
  started = start(PRINTS, stdout=write)
  os.close(write)
  assert end(started) == (141, None, "")


def test_a_full_disk_behind_standard_output():
  with open("/dev/full", "w", encoding="utf-8") as full:
    code, _, told = end(start(PRINTS, stdout=full))
  assert (code, told) == (
    2,
    "error: not all could be printed to standard output (No space left on "
    "device)\n",
  )


def test_a_closed_standard_output(tmp_path):
  script = f"""
    with open({str(tmp_path / "file")!r}, "w", encoding="utf-8") as file:
      print("printed")
    sys.exit(process.exit_code(0))
  """
  code, _, told = end(start(script, 'exec "$@" >&-'))
  assert code == 2
  assert re.search("standard output .Bad file descriptor.", told)
  assert not (tmp_path / "file").read_text(encoding="utf-8")


def test_what_a_stream_lacks_is_escaped():
  script = "print('1 \\u00b1 2', '\\udcff'); print('\\u2212', file=sys.stderr)"
  started = start(script, env={"PYTHONIOENCODING": "ascii"})
  assert end(started) == (0, "1 \\xb1 2 \\udcff\n", "\\u2212\n")
