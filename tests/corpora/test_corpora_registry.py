"""Finding a reader by name, and the errors that all readers share."""

import pytest

from emojax.corpora import speech as corpora
from emojax.errors import UserError


def test_an_unknown_corpus_lists_the_known_ones(tmp_path):
  with pytest.raises(UserError, match=r"no such corpus.*iemocap.*ravdess"):
    corpora.read("ravdes", tmp_path)


@pytest.mark.parametrize(
  "name", ["ravdess", "iemocap", "crema_d", "emodb", "savee", "tess"]
)
def test_folders_that_hold_nothing(tmp_path, name):
  empty, other = tmp_path / "empty", tmp_path / "other"
  empty.mkdir()
  other.mkdir()
  (other / "notes.txt").write_text("no audio here")
  cases = {
    "": "path is not set",
    tmp_path / "missing": "no such file or folder",
    empty: "an empty folder",
    other: "no audio of this corpus found",
  }
  for path, why in cases.items():
    with pytest.raises(
      UserError, match=f"{why}.*expected .*https?://"
    ) as caught:
      corpora.read(name, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
