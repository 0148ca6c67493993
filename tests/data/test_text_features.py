"""Lexical features: which encoder, and what is kept of it."""

import itertools

import jax
import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

from configs import dann
from emojax import runs as grid
from emojax.data import text_features
from emojax.encoders import elmo, text
from emojax.errors import UserError

TEXTS = ["the dog sat", "", "the door", "the dog sat"]


def test_hashed_words_are_hashed_words():
  """Against the definition: signed counts of words and pairs, unit length."""
  texts = ["The dog sat; the DOG ran", "", "the dog"]
  found = text_features.hashed_words(texts)
  assert found.dtype == np.float32
  assert found.shape == (3, text_features.HASHED_WORDS)
  expected = np.zeros(text_features.HASHED_WORDS)
  words = ["the", "dog", "sat", "the", "dog", "ran"]
  pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
  for token in words + pairs:
    key = murmurhash3_32(token, seed=0)
    expected[abs(key) % text_features.HASHED_WORDS] += 1 if key >= 0 else -1
  expected /= np.linalg.norm(expected)
  np.testing.assert_allclose(found[0], expected, rtol=1e-6)
  assert not found[1].any()


def test_hashed_words_are_scikit_learns():
  """With one letter, accents, other scripts, digits, apostrophes; no word."""
  texts = ["I don't, a1 Ärger_x", "Übung 北京 大学 2020!", "", "a b c", "no NO"]
  texts += [" ".join("abcdefgh"[i:j] for j in range(i, 8)) for i in range(6)]
  vectorizer = HashingVectorizer(
    n_features=text_features.HASHED_WORDS, ngram_range=(1, 2), dtype=np.float32
  )
  want = vectorizer.transform(texts).toarray()
  np.testing.assert_array_equal(text_features.hashed_words(texts), want)


@pytest.fixture
def runs(monkeypatch):
  """Stands in for both encoders; records the texts that they are given."""
  given = []

  def vectors(encoder, texts, batch_size):
    given.append(list(texts))
    for start in range(0, len(texts), 2):
      rows = list(range(start, min(start + 2, len(texts))))
      found = [[len(texts[row]), encoder] for row in rows]
      yield rows, np.array(found, np.float32)

  for module in (elmo, text):
    monkeypatch.setattr(module, "load", lambda folder: 7)
    monkeypatch.setattr(module, "vectors", vectors)
  return given


def write(folder, content="one"):
  """What is hashed of the encoders that are stood in for."""
  folder.mkdir(exist_ok=True)
  for name in ("model.safetensors", "options.json", "weights.hdf5"):
    (folder / name).write_text(content)


def extract(name, folder, cache, texts=TEXTS):
  return text_features.extract(texts, name, str(folder), "", cache)


@pytest.mark.parametrize("name", ["bert", "elmo"])
def test_each_text_is_encoded_once(runs, tmp_path, name):
  folder = tmp_path / "encoder"
  write(folder)
  found = extract(name, folder, tmp_path / "cache")
  assert found.tolist() == [[11, 7], [0, 7], [8, 7], [11, 7]]
  assert found.dtype == np.float32
  assert runs == [["the dog sat", "", "the door"]]
  # Kept: only what is new is run; other weights are another encoder.
  again = extract(name, folder, tmp_path / "cache", ["a new one", *TEXTS])
  assert again[1:].tolist() == found.tolist()
  assert runs[1:] == [["a new one"]]
  write(folder, "two")
  extract(name, folder, tmp_path / "cache")
  assert len(runs) == 3


@pytest.mark.parametrize("name", ["bert", "elmo"])
def test_what_the_features_do_not_depend_on_changes_nothing(
  runs, tmp_path, name, monkeypatch
):
  """But another tokenizer or device does, and another way to compute them."""
  folder = tmp_path / "encoder"
  write(folder)
  extract(name, folder, tmp_path / "cache")
  for other in ("README.md", "generation_config.json", "pytorch_model.bin"):
    (folder / other).write_text("more")
  extract(name, folder, tmp_path / "cache")
  assert len(runs) == 1
  monkeypatch.setattr(jax, "default_backend", lambda: "another")
  extract(name, folder, tmp_path / "cache")
  assert len(runs) == 2
  monkeypatch.setattr(text_features, "_VERSION", 99)
  extract(name, folder, tmp_path / "cache")
  assert len(runs) == 3
  (folder / "tokenizer.json").write_text("{}")
  extract(name, folder, tmp_path / "cache")
  assert len(runs) == (4 if name == "bert" else 3)


def test_an_interrupted_run_goes_on(runs, tmp_path, monkeypatch):
  folder = tmp_path / "encoder"
  write(folder)
  whole = text.vectors

  def interrupted(*arguments):
    yield next(whole(*arguments))
    raise KeyboardInterrupt

  monkeypatch.setattr(text, "vectors", interrupted)
  with pytest.raises(KeyboardInterrupt):
    extract("bert", folder, tmp_path / "cache")
  monkeypatch.setattr(text, "vectors", whole)
  extract("bert", folder, tmp_path / "cache")
  assert runs[-1] == ["the door"]


def test_a_damaged_vector_is_computed_again(runs, tmp_path):
  folder = tmp_path / "encoder"
  write(folder)
  found = extract("bert", folder, tmp_path / "cache")
  damaged = next((tmp_path / "cache").rglob("*.npy"))
  damaged.write_bytes(damaged.read_bytes()[:-3])
  again = extract("bert", folder, tmp_path / "cache")
  np.testing.assert_array_equal(again, found)
  assert len(runs[1]) == 1


@pytest.mark.parametrize(
  ("name", "encoder", "message"),
  [
    ("bert", "", "name its weights in config.data.text_encoder"),
    ("elmo", "", "a folder with the published options.json"),
    ("bert", "no/such/folder", "no such folder"),
    ("elmo", "no/such/folder", "no/such/folder"),
  ],
)
def test_no_encoder(name, encoder, message, tmp_path):
  with pytest.raises(UserError, match=message) as caught:
    text_features.extract(TEXTS, name, encoder, "", tmp_path)
  assert "\n" not in str(caught.value)


def test_a_run_keeps_to_its_revision(tmp_path):
  """Looked up when the run begins; resumed runs do not ask again."""
  config = dann.get_config()
  commits = iter(["aaaa", "bbbb"])

  def settle(workdir):
    return grid.settle(
      workdir, config, "data.text_revision", lambda: next(commits)
    )

  settled = settle(tmp_path)
  assert settled.data.text_revision == "aaaa"
  assert config.data.text_revision == ""
  # As the study's first training leaves it.
  (tmp_path / "config.json").write_text(settled.to_json(), encoding="utf-8")
  assert settle(tmp_path).data.text_revision == "aaaa"
  assert settle(tmp_path / "other").data.text_revision == "bbbb"
  config.data.text_revision = "cccc"
  assert settle(tmp_path).data.text_revision == "cccc"


def test_local_weights_have_no_commit(tmp_path):
  assert text_features.commit("bert", str(tmp_path)) == ""
  assert text_features.commit("elmo", str(tmp_path)) == ""
  assert text_features.commit("hashing", "") == ""
