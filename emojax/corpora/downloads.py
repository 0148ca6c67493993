"""Downloads of the corpora that their authors give to everybody.

Addresses and checksums are those of the publishers; for CREMA-D, whose clips
lie in Git LFS one by one, the list of checksums is that of TensorFlow Datasets
(7,438 clips). `tensorflow_datasets` can not be used to download: it starts
again after an interruption, and needs TensorFlow to unpack.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import json
import logging
import math
import os
import pathlib
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from ssl import SSLError

from emojax.errors import UserError
from emojax.runtime import archives, files, locks, process
from emojax.runtime.progress import progress

_MEBIBYTE = 1 << 20
_LOG = logging.getLogger(__name__)
_POLL = 0.5  # Seconds between looks at what another process downloads.
_TIMEOUT = 30.0  # Seconds without a byte.
_PAUSES = (0.0, 1.0, 4.0)  # Seconds before each new attempt.
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError, SSLError)
_CONNECTIONS = 8  # At once, where a corpus is many small files.


@dataclasses.dataclass(frozen=True)
class Download:
  """One file of a publisher, and its name here."""

  url: str
  name: str
  checksum: str = ""  # As in 'md5:0c47…'; '' where the publisher gives none.


_ARCHIVES = {
  "ravdess": Download(
    "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
    "Audio_Speech_Actors_01-24.zip",
    "md5:bc696df654c87fed845eb13823edef8a",
  ),
  "emodb": Download(
    "https://zenodo.org/records/7447302/files/emodb.zip",
    "emodb.zip",
    "md5:9d21362dbc5676ef3ab4745d83ced0db",
  ),
  "musan": Download(
    "https://www.openslr.org/resources/17/musan.tar.gz",
    "musan.tar.gz",
    "md5:0c472d4fc0c5141eca47ad1ffeb2a7df",
  ),
}
_LISTS = {
  "crema_d": Download(
    "https://storage.googleapis.com/tfds-data/manual_checksums/crema_d.txt",
    "crema_d.txt",
    "sha256:66b5d959dcee997321baf9080c80022a6937279419446db3a9d4827d839b0abb",
  ),
  "tess": Download(
    "https://borealisdata.ca/api/datasets/:persistentId/versions/"
    ":latest-published/files?persistentId=doi:10.5683/SP2/E8H2MF",
    "tess.json",
  ),
}
_TESS_FILE = "https://borealisdata.ca/api/access/datafile/"


def names() -> list[str]:
  """What can be downloaded: corpora, and MUSAN's noise, speech and music."""
  return sorted({**_ARCHIVES, **_LISTS})


def fetch(corpus: str, folder: str | os.PathLike) -> pathlib.Path:
  """Downloads, verifies and unpacks a corpus, or finds it downloaded.

  Its own folder within `folder` is either whole or missing. What an
  interruption leaves lies in a hidden folder beside it, and the next call goes
  on from there.

  Raises:
    UserError: it is not known here, no network, an answer other than the file,
      a wrong checksum, an unsafe archive, no room.
  """
  if corpus not in names():
    raise UserError(
      f"{corpus!r}: nothing to download; can be downloaded: "
      f"{', '.join(names())}"
    )
  folder = pathlib.Path(folder).expanduser()
  corpus_folder, work = folder / corpus, folder / f".{corpus}.part"
  if corpus_folder.exists():
    return corpus_folder
  with files.explained(work), _locked(work):
    if corpus_folder.exists():  # Another process was first.
      return corpus_folder
    work.mkdir(exist_ok=True)
    content = work / "content"
    if corpus in _ARCHIVES:
      archives.unpack(_download(_ARCHIVES[corpus], work, True), content)
      entries = list(content.iterdir())
      if len(entries) == 1 and entries[0].is_dir():  # One folder holds it all.
        content = entries[0]
    else:
      _download_listed(corpus, work, content)
    content.rename(corpus_folder)
    shutil.rmtree(work)
  return corpus_folder


@contextlib.contextmanager
def _locked(work: pathlib.Path) -> Iterator[None]:
  """Waits until no other process downloads into `work`."""
  path = work.with_suffix(".lock")
  path.parent.mkdir(parents=True, exist_ok=True)
  lock = locks.take(path)
  if lock is None:
    _LOG.info("%s: another process downloads there; waiting for it", work)
  while lock is None:
    time.sleep(_POLL)
    lock = locks.take(path)
  with process.undone(lambda: locks.release(lock)):
    yield


def _crema_d(text: str) -> Iterator[Download]:
  """Lines of address, size and SHA-256, separated by white space."""
  for url, _, digest, *_ in map(str.split, text.splitlines()):
    if url.endswith(".wav"):
      name = f"AudioWAV/{url.rpartition('/')[2]}"
      yield Download(url, name, f"sha256:{digest}")


def _tess(text: str) -> Iterator[Download]:
  """The answer of a Dataverse: its native API, "List Files in a Dataset"."""
  for entry in json.loads(text)["data"]:
    name, file = pathlib.PurePosixPath(entry["label"]).name, entry["dataFile"]
    if name.lower().endswith((".wav", ".zip")):
      yield Download(f"{_TESS_FILE}{file['id']}", name, f"md5:{file['md5']}")


def _download_listed(
  corpus: str, work: pathlib.Path, content: pathlib.Path
) -> None:
  """Downloads each file of a list into `content`, several at once."""
  index = _LISTS[corpus]
  text = _download(index, work).read_text("utf-8", "replace")
  try:
    downloads = list({"crema_d": _crema_d, "tess": _tess}[corpus](text))
  except (KeyError, TypeError, ValueError) as error:
    (work / index.name).unlink()
    raise UserError(
      f"{index.url}: not the list of files that is expected there; run the "
      "same command later, or download the corpus by hand and give its folder"
    ) from error
  pool = futures.ThreadPoolExecutor(_CONNECTIONS)
  try:
    pending = [pool.submit(_download, item, content) for item in downloads]
    done = futures.as_completed(pending)
    description = f"download {pathlib.Path(index.name).stem}"
    for future in progress(done, len(pending), description, "file"):
      future.result()
  finally:
    pool.shutdown(cancel_futures=True)
  for archive in sorted(content.glob("*.zip")):
    archives.unpack(archive, content / archive.stem)
    archive.unlink()


def _download(
  item: Download, folder: pathlib.Path, visible: bool = False
) -> pathlib.Path:
  """Gives the path of a file that is whole and has the right checksum."""
  path = folder / item.name
  if path.exists():
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f"{path.name}.part")
  for pause in _PAUSES:
    time.sleep(pause)
    try:
      if _append(item.url, part, visible):
        _verify(item, part)
        os.replace(part, path)
        return path
      why = "the connection broke"
    except urllib.error.HTTPError as error:
      why = f"the server answers {error.code} {error.reason}"
      if error.code < 500:
        break
    except urllib.error.URLError as error:
      why = f"no connection ({error.reason})"
    except _BROKEN as error:
      why = f"the connection broke ({error or type(error).__name__})"
  kept = part.stat().st_size if part.exists() else 0
  raise UserError(
    f"{item.url}: {why}; {kept / _MEBIBYTE:.1f} MiB of it are kept in "
    f"{folder}; run the same command again, which goes on from there, or "
    "download the corpus by hand and give its folder"
  )


def _append(url: str, part: pathlib.Path, visible: bool) -> bool:
  """Downloads what `part` lacks; returns whether it is whole then."""
  start = part.stat().st_size if part.exists() else 0
  request = urllib.request.Request(url, headers={"User-Agent": "emojax"})
  if start:
    request.add_header("Range", f"bytes={start}-")
  try:
    response = urllib.request.urlopen(request, timeout=_TIMEOUT)
  except urllib.error.HTTPError as error:
    # Nothing lies behind what is there: it is whole, or of another file,
    # which the checksum tells.
    if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
      return True
    raise
  with response:
    is_continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
    start = start if is_continued else 0
    missing = response.length  # None where the server does not say.
    _require_room(part, missing or 0)
    blocks = iter(lambda: response.read(_MEBIBYTE), b"")
    if visible:
      total = missing and math.ceil(missing / _MEBIBYTE)
      blocks = progress(blocks, total, f"download {part.stem}", "MiB")
    with open(part, "ab" if is_continued else "wb") as file:
      for block in blocks:
        file.write(block)
  return missing is None or part.stat().st_size == start + missing


def _require_room(part: pathlib.Path, missing: int) -> None:
  free = shutil.disk_usage(part.parent).free
  if missing > free:
    raise UserError(
      f"no room for {part.stem}: {missing / _MEBIBYTE:.0f} MiB are to come, "
      f"{free / _MEBIBYTE:.0f} MiB are free in {part.parent}; free some space "
      "and run the same command again, which goes on, or choose another folder"
    )


def _verify(item: Download, part: pathlib.Path) -> None:
  """Removes a file that has another checksum than the publisher's."""
  if not item.checksum:
    return
  algorithm, _, expected = item.checksum.partition(":")
  with open(part, "rb") as file:
    found = hashlib.file_digest(file, algorithm).hexdigest()
  if found != expected:
    part.unlink()
    raise UserError(
      f"{item.url}: the {algorithm} of what came is {found}, expected "
      f"{expected}; it was removed; run the same command again, and if that "
      "does not help, download the corpus by hand and give its folder"
    )
