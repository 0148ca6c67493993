"""The library's front door."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

import emojax
from emojax.errors import UserError


def test_three_lines(listening_run, talk, tmp_path):
  path = tmp_path / "talk.wav"
  soundfile.write(path, talk, 16_000)
  predictor = emojax.load(listening_run)
  assert predictor.classes == ("angry", "neutral", "sad")
  of_one, of_list = predictor.predict(path), predictor.predict([str(path)])
  assert len(of_one) == 1
  assert of_one.names["path"] == [str(path)]
  np.testing.assert_array_equal(
    of_one.probabilities_UxC, of_list.probabilities_UxC
  )
  best = of_one.probabilities_UxC[0].argmax()
  assert of_one.emotions == [predictor.classes[best]]


def test_a_folder_with_the_system_itself(listening_run):
  assert emojax.load(listening_run / "model").classes[0] == "angry"


def test_no_such_run_here(tmp_path):
  with pytest.raises(UserError, match="no finished run"):
    emojax.load(tmp_path / "runs" / "speech")


def test_importing_is_free():
  program = "import sys, emojax; assert 'jax' not in sys.modules"
  subprocess.run([sys.executable, "-c", program], check=True)
