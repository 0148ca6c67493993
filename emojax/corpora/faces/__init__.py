"""Readers of corpora of faces as they are shipped: one file for each corpus.

A reader is a module here with `read(path) -> Iterator[Face]`, or registered
from outside; see `shipped.Reader`.
"""

from emojax.corpora import shipped

_READERS = shipped.Readers(__name__, "corpus of faces", "face")
register, names, fetch = _READERS.register, _READERS.names, _READERS.fetch
read, read_all, licence = _READERS.read, _READERS.read_all, _READERS.licence
