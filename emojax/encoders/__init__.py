"""Pretrained encoders. Those of speech are behind one interface, by name."""

from emojax.encoders import log_mel, speech, whisper_encoder
from emojax.encoders.interface import (
  Encoder,
  Source,
  find,
  from_json,
  names,
  register,
  register_kind,
)

register("log_mel", log_mel.LogMel(), "log-mel CNN")
register("small", speech.SMALL, "small encoder")
register_kind(whisper_encoder.Whisper)

__all__ = ["Encoder", "Source", "find", "from_json", "names", "register"]
