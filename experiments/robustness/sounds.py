"""Recordings of every type: headers and bodies."""

import io
import pathlib
import struct

import numpy as np
import soundfile
from hypothesis import strategies as st

from emojax.audio import io as audio_io
from emojax.audio.io import UnreadableAudio
from emojax.inference import sources
from experiments.robustness import edits
from experiments.robustness.guard import require
from experiments.robustness.parser import Parser

_RATE = 16_000
_KINDS = (
  *(("wav", "PCM_16"), ("wav", "FLOAT"), ("wav", "DOUBLE"), ("wav", "PCM_24")),
  *(
    ("wav", "PCM_U8"),
    ("wav", "ULAW"),
    ("wav", "IMA_ADPCM"),
    ("wav", "GSM610"),
  ),
  *(("flac", "PCM_16"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("ogg", "OPUS")),
  *(("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_16"), ("aiff", "FLOAT")),
  *(("au", "PCM_16"), ("au", "ULAW"), ("caf", "PCM_16"), ("w64", "PCM_16")),
  *(
    ("rf64", "PCM_16"),
    ("nist", "PCM_16"),
    ("voc", "PCM_16"),
    ("svx", "PCM_16"),
  ),
)


def _samples() -> np.ndarray:
  time = np.arange(_RATE // 10) / _RATE
  return 0.5 * np.sin(2 * np.pi * 440 * time)


def _encode(kind: str, subtype: str) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, _samples(), _RATE, subtype, format=kind.upper())
  return file.getvalue()


_SEEDS = {
  f"{kind}-{subtype}.{kind}": _encode(kind, subtype) for kind, subtype in _KINDS
}


@st.composite
def _wav(draw) -> bytes:
  """A WAV whose header says other things than its body, or whose body does."""
  data = (_samples() * 32_767).astype("<i2").tobytes()
  tag, channels, rate, width, bits = draw(
    st.sampled_from(
      ((1, 1, 16_000, 2, 16), (3, 1, 48_000, 4, 32), (7, 2, 8_000, 2, 8))
    )
  )
  form = draw(
    edits.packed("<HHIIHH", (tag, channels, rate, rate * width, width, bits))
  )
  if draw(st.booleans()):
    floats = [np.nan, np.inf, 1e30, 0.0, 32_768.0, -1e-40]
    data = np.full(800, draw(st.sampled_from(floats)), "<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
  form += draw(
    st.sampled_from((b"", b"\0\0", bytes(24), b"\x16\0" + bytes(22)))
  )
  chunks = [
    [b"fmt ", form],
    [b"data", data[: draw(st.sampled_from((0, 1, 3200)))]],
  ]
  odd = (
    b"LIST",
    b"fact",
    b"bext",
    b"cue ",
    b"data",
    b"fmt ",
    b"\0\0\0\0",
    b"PEAK",
  )
  for _ in range(draw(st.integers(0, 2))):
    extra = draw(st.binary(max_size=40))
    chunks.insert(
      draw(st.integers(0, len(chunks))), [draw(st.sampled_from(odd)), extra]
    )
  body = b"WAVE"
  for name, content in chunks:
    size = len(content)
    if draw(st.integers(0, 3)) == 0:
      size = draw(
        st.sampled_from((0, 1, 2**31 - 1, 2**31, 2**32 - 1, size + 1))
      )
    body += name + struct.pack("<I", size) + content
  total = draw(st.sampled_from((len(body), len(body), 0, 2**32 - 1)))
  return draw(st.sampled_from((b"RIFF",) * 8 + (b"RIFX", b"RF64"))) + (
    struct.pack("<I", total) + body
  )


@st.composite
def _au(draw) -> bytes:
  data = (_samples() * 32_767).astype(">i2").tobytes()
  header = draw(edits.packed(">IIIII", (24, len(data), 3, _RATE, 1)))
  return b".snd" + header + data


_RATES = (
  *(b"\x40\x0c\xfa\0\0\0\0\0\0\0", b"\x7f\xff" + b"\xff" * 8, bytes(10)),
  *(b"\xc0\x0c\xfa\0\0\0\0\0\0\0", b"\x40\x1e\xfa\0\0\0\0\0\0\0"),
)


@st.composite
def _aiff(draw) -> bytes:
  """AIFF keeps its rate as a number of 80 bits."""
  data = (_samples() * 32_767).astype(">i2").tobytes()
  rate = draw(st.sampled_from(_RATES))
  common = draw(edits.packed(">HIH", (1, len(data) // 2, 16))) + rate
  chunks = b"COMM" + struct.pack(">I", len(common)) + common
  chunks += b"SSND" + draw(edits.packed(">III", (len(data) + 8, 0, 0))) + data
  return b"FORM" + struct.pack(">I", len(chunks) + 4) + b"AIFF" + chunks


@st.composite
def _recording(draw) -> edits.Files:
  name = draw(st.sampled_from(sorted(_SEEDS)))
  content = _SEEDS[name]
  head = draw(st.sampled_from((44, 100, 300)))
  kinds = {
    name: [
      edits.damaged(content, 4),
      edits.damaged(content[:head]).map(lambda start: start + content[head:]),
      edits.replaced(content),
      st.sampled_from(sorted(_SEEDS)).map(lambda other: _SEEDS[other]),
    ]
  }
  kinds["header.wav"], kinds["header.au"], kinds["header.aiff"] = (
    *([_wav()], [_au()], [_aiff()]),
  )
  names = [name] * 4 + ["header.wav"] * 4 + ["header.au", "header.aiff"]
  name = draw(st.sampled_from(names))
  return {name: draw(st.one_of(kinds[name]))}


def _read(folder: pathlib.Path) -> None:
  """As `predict` reads it: its length by the header, then the samples."""
  (path,) = map(str, folder.iterdir())
  windows = sources.num_windows(path, 5.0)
  require(0 < windows < 2**31, f"{windows} windows")
  try:
    samples = audio_io.read(path, _RATE)
  except UnreadableAudio as error:
    require(error.path == path, "another path")
    raise
  require(samples.dtype == np.float32 and samples.ndim == 1, "its samples")
  require(bool(np.isfinite(samples).all()), "samples that are no numbers")
  require(
    len(samples) < 60 * 60 * _RATE, f"{len(samples)} samples of few bytes"
  )
  whole = audio_io.to_int16(samples)
  require(whole.dtype == np.int16, "its samples")


PARSERS = (
  Parser(
    "recording",
    24,
    {"wav-PCM_16.wav": _SEEDS["wav-PCM_16.wav"]},
    _recording(),
    _read,
  ),
)
