"""Sizes in the headers of recordings: what they promise, and what is there.

A recorder that crashed, or one that wrote into a pipe, leaves sizes of 0; a
copy that broke off leaves fewer samples than the header promises. libsndfile
takes a size of 0 for an empty recording, and says nothing of what is missing.
"""

import io
import os
import struct
from typing import BinaryIO, NamedTuple

# Nearly 2 GiB and more stand for "unknown" where a program wrote into a pipe.
_UNKNOWN = 0x7FFF_0000
_MOST_CHUNKS = 1_000
_LARGEST_PAGE, _PAGE_HEADER = 1 << 16, 27  # Of Ogg.
_LARGEST_TAG = 4096  # Of the first frame of an MP3 file, and more.


class Sizes(NamedTuple):
  """Bytes of samples in a file, and what its header says."""

  there: int
  promised: int | None  # None: not said.
  place: int = 0  # Where the header says it,
  kind: str = ""  # and as which number, for `struct`.

  @property
  def unfinished(self) -> bool:
    """Whether samples are there of which the header does not know."""
    return self.promised is not None and self.promised < self.there


class Repaired(io.FileIO):
  """A file with the right size in the place of a wrong one."""

  def __init__(self, path: str | os.PathLike, sizes: Sizes):
    """Opens the file to read; nothing on the disk is changed."""
    super().__init__(path)
    self._place = sizes.place
    most = (1 << 8 * struct.calcsize(sizes.kind)) - 1
    self._size = struct.pack(sizes.kind, min(sizes.there, most))

  def readinto(self, buffer) -> int:
    """Reads as a file does."""
    start = self.tell()
    count = super().readinto(buffer)
    content = memoryview(buffer).cast("B")
    for place, byte in enumerate(self._size, self._place - start):
      if 0 <= place < count:
        content[place] = byte
    return count


def sizes(file: BinaryIO) -> Sizes | None:
  """What the header of a WAV, AU or AIFF file says; None of any other."""
  file_size = os.fstat(file.fileno()).st_size
  head = file.read(12)
  if head[:4] == b".snd" and len(head) == 12:
    start, promised = struct.unpack(">II", head[4:])
    return _sizes(file, file_size - start, promised, 8, ">I", start)
  kind, form = head[:4], head[8:]
  if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
    found = _chunk(file, b"SSND", ">I")
    # libsndfile itself looks further where it says 0.
    if found is None or not found[1]:
      return None
    start, promised = found
    return Sizes(min(file_size - start, promised), promised)
  if form != b"WAVE" or kind not in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
    return None
  size = ">I" if kind == b"RIFX" else "<I"
  found = _chunk(file, b"data", size)
  if found is None:
    return None
  start, promised = found
  place = start - 4
  if promised == 0xFFFF_FFFF and kind != b"RIFF":
    # These have a chunk `ds64` of longer sizes: of the file, of the samples.
    file.seek(12)
    found = _chunk(file, b"ds64", size)
    if found is None or found[0] + 16 > start:
      return None
    place, size = found[0] + 8, "<Q"
    file.seek(place)
    (promised,) = struct.unpack(size, file.read(8))
  return _sizes(file, file_size - start, promised, place, size, start)


def cut_ogg(file: BinaryIO) -> str:
  """What an Ogg file's last page says of the pages that are missing, or ''."""
  first = file.read(_PAGE_HEADER)
  if first[:4] != b"OggS":
    return ""
  size = os.fstat(file.fileno()).st_size
  file.seek(max(0, size - _LARGEST_PAGE))
  tail = file.read()
  last = tail[tail.rfind(b"OggS") :][:_PAGE_HEADER]
  if len(last) < _PAGE_HEADER or not last[5] & 4:
    return "cut short? its last page is not marked as the end"
  if last[14:18] != first[14:18]:  # The number of the stream.
    return "several recordings in one file? only the first is read"
  return ""


def says_frames(file: BinaryIO) -> bool:
  """Whether an MP3 file says how long it is; else that is estimated."""
  head = file.read(10)
  place = 0
  if head[:3] == b"ID3" and len(head) == 10:
    place = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:]))
  file.seek(place)
  head = file.read(_LARGEST_TAG)
  return b"Xing" in head or b"Info" in head


def _sizes(file, there, promised, place, kind, start) -> Sizes | None:
  if there < 0:
    return None
  if promised >= _UNKNOWN > there:
    return Sizes(there, None, place, kind)
  rest = there - promised
  # What follows the samples are other chunks, or a tag, unless it is most.
  if rest > promised and not _are_chunks(file, start + promised, kind):
    return Sizes(there - _last_chunk(file, kind), promised, place, kind)
  return Sizes(min(there, promised), promised, place, kind)


def _chunk(file: BinaryIO, name: bytes, kind: str) -> tuple[int, int] | None:
  """Where the content of the next chunk of this name begins; its size."""
  for _ in range(_MOST_CHUNKS):
    head = file.read(8)
    if len(head) < 8:
      break
    (size,) = struct.unpack(kind, head[4:])
    if head[:4] == name:
      return file.tell(), size
    file.seek(size + size % 2, os.SEEK_CUR)
  return None


def _last_chunk(file: BinaryIO, kind: str) -> int:
  """How many bytes at the end are a chunk of words about the recording."""
  size = os.fstat(file.fileno()).st_size
  file.seek(max(0, size - _LARGEST_PAGE))
  tail = file.read()
  for name in (b"LIST", b"id3 "):
    at = tail.rfind(name)
    if at >= 0 and len(tail) - at >= 8:
      (content,) = struct.unpack_from(kind[0] + "I", tail, at + 4)
      if content + 8 in (len(tail) - at, len(tail) - at - 1):
        return len(tail) - at
  return 0


def _are_chunks(file: BinaryIO, start: int, kind: str) -> bool:
  """Whether the file goes on with whole chunks to its end."""
  end = os.fstat(file.fileno()).st_size
  # Some programs leave out the byte that makes a size even: both are tried.
  waiting = [start, start + start % 2]
  for _ in range(_MOST_CHUNKS):
    if not waiting:
      break
    place = waiting.pop()
    if end - 8 < place <= end + 1:
      return place > start + 1
    file.seek(place)
    name, size = file.read(4), file.read(4)
    if len(size) == 4 and all(32 <= byte < 127 for byte in name):
      (content,) = struct.unpack(kind[0] + "I", size)
      after = place + 8 + content
      waiting += [after, after + content % 2]
  return False
