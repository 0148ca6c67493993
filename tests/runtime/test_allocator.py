"""Buffers that come and go take no new pages from the system."""

import os
import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys
import numpy as np
from emojax.runtime import allocator

def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(10):
    np.ones(8 << 20, np.float64)  # 64 MB, written to.
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

taken = faults()
allocator.keep_memory()
faults()
print(taken, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize("given", ["", "glibc.malloc.arena_max=4"])
def test_pages_stay(given):
  """Unless the environment has settings of its own."""
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM],
    env=os.environ | {"GLIBC_TUNABLES": given},
    capture_output=True,
    text=True,
    check=True,
  )
  taken, afterwards = map(int, done.stdout.split())
  assert taken > 300  # Ten times 64 MB, in huge pages or small ones.
  assert (afterwards < taken / 10) == (not given)
