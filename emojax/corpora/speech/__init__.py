"""Readers of corpora of speech as they are shipped: one file for each corpus.

A reader is a module here with `read(path) -> Iterator[Utterance]`, or
registered from outside; see `shipped.Reader`.
"""

from emojax.corpora import shipped

_READERS = shipped.Readers(__name__, "corpus", "audio")
register, names, fetch = _READERS.register, _READERS.names, _READERS.fetch
read, read_all = _READERS.read, _READERS.read_all
speaker_rules, licence = _READERS.speaker_rules, _READERS.licence
