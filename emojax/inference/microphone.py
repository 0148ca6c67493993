"""The sound card, by PortAudio."""

import contextlib
import types
from collections.abc import Iterator

from emojax.errors import UserError, extra
from emojax.inference.backlog import Backlog

_SECONDS = 10.0  # That may wait to be heard.
_PATIENCE = 5.0  # Seconds without a sample.
_WANTED = 16_000  # Samples a second; else what the device has.


def _sounddevice() -> types.ModuleType:
  try:
    import sounddevice
  except ImportError as error:
    raise UserError(
      f"the microphone takes sounddevice: {extra('live')}"
    ) from error
  except OSError as error:
    raise UserError(
      "the microphone takes the library PortAudio, which is missing: install "
      "it (apt install libportaudio2), or give --input=FILE"
    ) from error
  return sounddevice


@contextlib.contextmanager
def listening(device: str) -> Iterator[tuple[Backlog, int]]:
  """Opens a microphone; what it hears comes into a backlog.

  Args:
    device: its name, a part of that, or its number; '' for the usual one.

  Yields:
    The backlog, which ends with an error where the device goes, and its samples
    a second.

  Raises:
    UserError: there is no such microphone, or it can not be opened.
  """
  sounddevice = _sounddevice()
  try:
    stream, backlog, rate = _open(sounddevice, device)
  except (sounddevice.PortAudioError, ValueError) as error:
    names = [
      f"{one['index']}: {one['name']}"
      for one in sounddevice.query_devices()
      if one["max_input_channels"]
    ]
    there = "there is none" if not names else f"there are {', '.join(names)}"
    reason = str(error).splitlines()[0]
    raise UserError(
      f"no microphone{f' {device!r}' if device else ''} ({reason}); {there}; "
      "--device=NAME chooses one, --input=FILE takes a recording"
    ) from error
  with contextlib.closing(stream):
    yield backlog, rate


def _open(sounddevice: types.ModuleType, device: str):
  """A stream that has begun, its backlog, and its samples a second."""
  which = int(device) if device.isdecimal() else device or None
  found = sounddevice.query_devices(which, "input")
  rate = _rate(sounddevice, found)
  name = f"the microphone {found['name']!r}"
  backlog = Backlog(round(_SECONDS * rate), name, _PATIENCE)
  stream = sounddevice.InputStream(
    rate,
    device=found["index"],
    channels=1,
    dtype="float32",
    callback=lambda block_SxC, *_: backlog.push(block_SxC[:, 0]),
    finished_callback=lambda: backlog.close(UserError(f"{name} has gone")),
  )
  stream.start()
  return stream, backlog, rate


def _rate(sounddevice: types.ModuleType, found: dict) -> int:
  try:
    sounddevice.check_input_settings(
      found["index"], 1, "float32", None, _WANTED
    )
  except sounddevice.PortAudioError:
    return round(found["default_samplerate"])
  return _WANTED
