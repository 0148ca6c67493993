"""The level of speech, in closed form."""

import numpy as np
import pytest

from emojax.audio import levels

RATE = 16_000


def sine(amplitude, seconds):
  time = np.arange(round(seconds * RATE)) / RATE
  # 500 Hz: 16 whole periods in a frame.
  return amplitude * np.sin(2 * np.pi * 500 * time)


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.003])
def test_the_level_of_a_sine_is_that_of_its_root_mean_square(amplitude):
  found = levels.speech_db(sine(amplitude, 0.64), RATE)
  assert found == pytest.approx(20 * np.log10(amplitude / np.sqrt(2)), abs=1e-4)


def test_pauses_do_not_count():
  loud, soft, pause = sine(0.5, 0.32), sine(0.1, 0.32), sine(0.04, 0.96)
  # 14 dB below the loudest counts, 22 dB below does not.
  found = levels.speech_db(np.concatenate([pause, loud, soft, pause]), RATE)
  power = (0.5**2 + 0.1**2) / 4
  assert found == pytest.approx(10 * np.log10(power), abs=1e-4)
  again = levels.speech_db(np.concatenate([loud, pause]) / 2, RATE)
  assert again == pytest.approx(10 * np.log10(0.25**2 / 2), abs=1e-4)


def test_clips_of_less_than_a_frame_and_silence():
  assert levels.speech_db(np.full(3, 0.5), RATE) == pytest.approx(-6.0206)
  assert levels.speech_db(np.zeros(RATE), RATE) == -np.inf
