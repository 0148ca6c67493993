"""ELMo against an independent version in PyTorch."""

import functools
import itertools

import elmo_pytorch
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.encoders import elmo
from emojax.encoders.elmo import BidirectionalLanguageModel, Config

SENTENCES = [
  ["It", "'s", "a", "well-known", "naïve", "idea", "."],
  ["No"],
  [],
  ["Antidisestablishmentarianism" * 2, "日本語", "", "?", "!"],
  ["yes"] * 11,
]
# The published models: LSTM, projection, highways, parameters in millions on
# AllenNLP's ELMo page.
PUBLISHED = {
  "small": (1024, 128, 1, 13.6),
  "medium": (2048, 256, 1, 28.0),
  "original": (4096, 512, 2, 93.6),
}


@functools.partial(jax.jit, static_argnums=0)
def _apply(model, params, ids, lengths):
  return model.apply({"params": params}, ids, lengths)


def _run(model, sentences):
  return _apply(model.model, model.params, *elmo.characters(sentences))


def _embed(model, texts, batch_size):
  """The vectors of all texts in their order."""
  size = 2 * model.config.projection_dim
  found = np.full((len(texts), size), np.nan, np.float32)
  for rows, vectors in elmo.vectors(model, texts, batch_size):
    assert vectors.dtype == np.float32
    found[rows] = vectors
  return found


# Each option in both positions; the scale is that of the LSTM's weights.
CASES = {
  "published": ({}, 1.0),
  "no clipping": (
    {
      "activation": "tanh",
      "cell_clip": None,
      "n_highway": 1,
      "proj_clip": None,
      "use_skip_connections": False,
    },
    3.0,
  ),
  "clipping at work": (
    {"cell_clip": 0.5, "n_layers": 3, "proj_clip": 0.7},
    3.0,
  ),
  "small": ({"n_highway": 0, "n_layers": 1}, 1.0),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_are_those_of_pytorch(tmp_path, case):
  changes, scale = CASES[case]
  folder = elmo_pytorch.write(
    tmp_path / "elmo", elmo_pytorch.options_with(**changes), scale
  )
  found = _run(elmo.load(folder), SENTENCES)
  num_layers = 1 + changes.get("n_layers", 2)
  assert len(found["hidden_states"]) == num_layers

  reference = elmo_pytorch.Elmo(folder)
  largest = 0.0
  for row, sentence in enumerate(SENTENCES):
    length = len(sentence)
    mask = np.arange(11) < length
    np.testing.assert_array_equal(found["mask"][row], mask)
    expected = reference.layers(sentence)
    for mine, theirs in zip(found["hidden_states"], expected, strict=True):
      assert mine.shape == (len(SENTENCES), 11, 12)
      assert not np.any(mine[row, length:])
      np.testing.assert_allclose(
        mine[row, :length], theirs, rtol=0, atol=scale * 1e-5
      )
    if sentence:
      largest = max(largest, float(expected[1].abs().max()))
  # A bound is reached where it should be: that of the published never is.
  if case == "clipping at work":
    assert largest == pytest.approx(0.7)
  elif case == "no clipping":
    assert largest > 0.7


def test_options_change_the_output(tmp_path):
  """Each option of the parity test does something: none is tested idly."""
  changes = [{}]
  for case, _ in CASES.values():
    changes += [{name: value} for name, value in case.items()]
  outputs = []
  for i, change in enumerate(changes):
    folder = elmo_pytorch.write(
      tmp_path / str(i), elmo_pytorch.options_with(**change), scale=9.0
    )
    outputs.append(elmo_pytorch.Elmo(folder).layers(SENTENCES[0])[-1])
  for one, other in itertools.combinations(outputs, 2):
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize(
  ("mates", "tolerance"), [(SENTENCES[1:], 0.0), ([], 1e-6)]
)
def test_padding_and_batch_mates_change_nothing(tmp_path, mates, tolerance):
  model = elmo.load(elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS))
  one = _run(model, SENTENCES)["hidden_states"]
  other = _run(model, [*mates[::-1], SENTENCES[0]])["hidden_states"]
  for a, b in zip(one, other, strict=True):
    np.testing.assert_allclose(a[0, :7], b[-1, :7], rtol=0, atol=tolerance)


def test_what_stands_in_the_padding_changes_nothing(tmp_path):
  model = elmo.load(elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS))
  ids, lengths = elmo.characters(SENTENCES)
  noise = np.random.default_rng(0).integers(0, 261, ids.shape, np.int32)
  inside = np.arange(ids.shape[1]) < lengths[:, None] + 2
  changed = np.where(inside[..., None], ids, noise)
  one = _apply(model.model, model.params, ids, lengths)
  other = _apply(model.model, model.params, changed, lengths)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_word_of_a_sentence_reaches_both_directions(tmp_path):
  """Forward values know what came before, backward ones what comes after."""
  model = elmo.load(elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS))
  sentences = [["a", "b", "c", "d"], ["a", "x", "c", "d"], *SENTENCES[2:]]
  found = _run(model, sentences)["hidden_states"]
  words, *layers = (np.asarray(layer[:2, :4]) for layer in found)
  differs = np.abs(words[0] - words[1]).max(1) > 0
  assert differs.tolist() == [False, True, False, False]
  for layer in layers:
    differs = np.abs(layer[0] - layer[1]).reshape(4, 2, 6).max(2) > 0
    assert differs[:, 0].tolist() == [False, True, True, True]
    assert differs[:, 1].tolist() == [True, True, False, False]


def test_gradients_reach_every_parameter(tmp_path):
  model = elmo.load(
    elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.options_with(n_layers=1))
  )
  ids, lengths = elmo.characters(SENTENCES)

  def total(params):
    layers = model.model.apply({"params": params}, ids, lengths)
    return sum(jnp.sum(layer**2) for layer in layers["hidden_states"])

  gradients = jax.jit(jax.grad(total))(model.params)
  for gradient in jax.tree.leaves(gradients):
    assert np.all(np.isfinite(gradient))
    assert np.any(gradient)


def _config(cells, projection, highways):
  """The published options of that size."""
  return Config(
    activation="relu",
    embedding_dim=16,
    filters=tuple((i + 1, n) for i, n in enumerate(_FILTERS)),
    max_characters_per_token=50,
    n_highway=highways,
    dim=cells,
    projection_dim=projection,
    n_layers=2,
    use_skip_connections=True,
    cell_clip=3,
    proj_clip=3,
  )


_FILTERS = (32, 32, 64, 128, 256, 512, 1024)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
  *sizes, millions = PUBLISHED[name]
  model = BidirectionalLanguageModel(_config(*sizes))
  ids, lengths = jnp.zeros((2, 7, 50), jnp.int32), jnp.array([5, 3])
  found, variables = jax.eval_shape(
    model.init_with_output, jax.random.key(0), ids, lengths
  )
  count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  assert round(count / 1e6, 1) == millions
  shapes = [layer.shape for layer in found["hidden_states"]]
  assert shapes == 3 * [(2, 5, 2 * sizes[1])]


def test_loaded_parameters_are_those_of_the_network(tmp_path):
  model = elmo.load(elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS))
  variables = jax.eval_shape(
    model.model.init, jax.random.key(0), *elmo.characters(SENTENCES)
  )

  def describe(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)

  assert describe(model.params) == describe(variables["params"])


def test_characters():
  ids, lengths = elmo.characters([["né", "x" * 60], []])
  assert lengths.tolist() == [2, 0]
  assert ids.shape == (2, 4, 50)
  assert ids.dtype == lengths.dtype == np.int32

  def word(*middle):
    return [258, *middle, 259] + (48 - len(middle)) * [260]

  nothing = 50 * [260]
  assert ids.tolist() == [
    [word(256), word(ord("n"), 0xC3, 0xA9), word(*b"x" * 48), word(257)],
    [word(256), word(257), nothing, nothing],
  ]


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("Don't you? It's 5,300!", "Don 't you ? It 's 5,300 !"),
    ("Mr. Smith can’t pay $3.50...", "Mr. Smith can 't pay $ 3.50 ..."),
    ("At 10:30 a.m. in the U.S.", "At 10 : 30 a.m. in the U.S."),
    ("So did I. I-- well-known", "So did I . I -- well-known"),
    ("the dogs' 1990's \"naïve\"", "the dogs ' 1990 's \" naïve \""),
    (" \n\t", ""),
  ],
)
def test_words_are_those_of_moses(text, expected):
  assert elmo.words(text) == expected.split()


def test_embed_is_the_mean_over_layers_and_words(tmp_path, capsys):
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  texts = ["It's a well-known idea.", "", "No", "yes " * 30, "No", " "]
  texts += [f"one more {i}" for i in range(5)]
  found = _embed(elmo.load(folder), texts, batch_size=4)
  assert found.shape == (11, 12)
  reference = elmo_pytorch.Elmo(folder)
  for mean, text in zip(found, texts, strict=True):
    words = elmo.words(text)
    if words:
      expected = sum(layer.mean(0) for layer in reference.layers(words)) / 3
      np.testing.assert_allclose(mean, expected, atol=1e-5)
    else:
      assert not mean.any()
  assert "ELMo: 3/3" in capsys.readouterr().err


def test_embed_of_nothing(tmp_path):
  model = elmo.load(elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS))
  assert _embed(model, [], batch_size=4).shape == (0, 12)
  assert not _embed(model, ["", "  "], batch_size=4).any()
