"""The network against PyTorch, which takes one conversation at a time."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

from emojax import losses
from emojax.models import dann, sa_gru

EMOTIONS, SPEAKERS, HIDDEN, HEADS = 4, 5, 12, 3
WIDTHS = {"audio": 20, "text": 9}
LENGTHS = (5, 3, 1, 4)
NUM = sum(LENGTHS) + 2  # Two utterances belong to no conversation.


class Reference(nn.Module):
  """Lian et al. 2020, one conversation at a time, without masks."""

  def __init__(self, names):
    super().__init__()
    self.projections = nn.ModuleDict(
      {name: nn.Linear(WIDTHS[name], HIDDEN) for name in names}
    )
    self.attention = nn.Linear(HIDDEN, HIDDEN, bias=False)
    self.score = nn.Linear(HIDDEN, 1, bias=False)
    self.gru = nn.GRU(HIDDEN, HIDDEN // 2, bidirectional=True, batch_first=True)
    self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN, bias=False)
    self.emotion = nn.Linear(HIDDEN, EMOTIONS)
    self.domain = nn.Sequential(
      nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, SPEAKERS)
    )

  def encode(self, features):
    u = torch.stack(
      [layer(features[n]) for n, layer in self.projections.items()]
    )
    alpha = torch.softmax(self.score(torch.tanh(self.attention(u))), 0)
    fused = (alpha * u).sum(0) if len(u) > 1 else u[0]
    states, _ = self.gru(fused[None])
    query, key, value = (
      self.qkv(states[0]).unflatten(1, (3, HEADS, -1)).permute(1, 2, 0, 3)
    )
    heads = torch.softmax(query @ key.mT, -1) @ value
    return heads.transpose(0, 1).flatten(1)

  def losses(self, conversations, emotions, speakers):
    r = torch.cat([self.encode(features) for features in conversations])
    labelled = emotions >= 0
    emotion_loss = nn.functional.cross_entropy(
      self.emotion(r)[labelled], emotions[labelled]
    )
    return (
      emotion_loss,
      r,
      lambda r: nn.functional.cross_entropy(self.domain(r), speakers),
    )

  def backward(self, conversations, emotions, speakers, scale):
    """Eq. (5) without a reversal layer: two passes, one subtracted."""
    emotion_loss, r, domain_loss = self.losses(
      conversations, emotions, speakers
    )
    emotion_loss.backward(retain_graph=True)
    leaf = r.detach().requires_grad_()
    loss = domain_loss(leaf)
    loss.backward()
    r.backward(-scale * leaf.grad)
    return emotion_loss.item(), loss.item()


def to_flax(model, of=lambda tensor: tensor.detach()):
  """The parameters (or, with `of`, their gradients) as a Flax tree."""

  def dense(layer, transpose=True):
    kernel = of(layer.weight).numpy()
    tree = {"kernel": kernel.T if transpose else kernel}
    if layer.bias is not None:
      tree["bias"] = of(layer.bias).numpy()
    return tree

  def both(name):
    pair = [
      of(getattr(model.gru, f"{name}_l0{end}")).numpy()
      for end in ("", "_reverse")
    ]
    return np.stack(pair)

  tree = {
    "fusion": {
      name: dense(layer, False) for name, layer in model.projections.items()
    },
    "context": {
      "gru": {
        "input_kernel": both("weight_ih").transpose(2, 0, 1),
        "input_bias": both("bias_ih"),
        "recurrent_kernel": both("weight_hh").transpose(0, 2, 1),
        "recurrent_bias": both("bias_hh"),
      },
      "attention": {
        "kernel": of(model.qkv.weight)
        .numpy()
        .T.reshape(HIDDEN, 3, HEADS, HIDDEN // HEADS)
      },
    },
    "emotion_classifier": {"output": dense(model.emotion)},
    "domain_classifier": {
      "hidden_layer": dense(model.domain[0]),
      "output": dense(model.domain[2]),
    },
  }
  if len(model.projections) > 1:
    tree["fusion"]["attention"] = {
      "kernel": of(model.attention.weight).numpy(),
      "score": of(model.score.weight).numpy()[0],
    }
  return jax.tree.map(lambda x: jnp.array(x, jnp.float32), tree)


def make_packing():
  """Two rows of two conversations, and padding."""
  starts = np.cumsum([0, *LENGTHS])
  position = np.full((2, 10), NUM, np.int32)
  segment = np.zeros((2, 10), np.int32)
  for row, conversations in enumerate(((1, 0), (3, 2))):
    place = 0
    for index, conversation in enumerate(conversations, 1):
      stop = place + LENGTHS[conversation]
      position[row, place:stop] = range(
        starts[conversation], starts[conversation + 1]
      )
      segment[row, place:stop] = index
      place = stop
  return sa_gru.Packing(jnp.asarray(position), jnp.asarray(segment))


def make_batch(names=("audio", "text")):
  rng = np.random.default_rng(0)
  batch = {
    "features": {
      name: rng.normal(size=(NUM, WIDTHS[name])).astype(np.float32)
      for name in names
    },
    "packing": make_packing(),
    "emotion": rng.integers(0, EMOTIONS, NUM),
    "speaker": rng.integers(0, SPEAKERS, NUM),
    "real": np.arange(NUM) < sum(LENGTHS),
  }
  # The last conversation has no labels.
  batch["labelled"] = np.arange(NUM) < sum(LENGTHS[:3])
  return jax.tree.map(jnp.asarray, batch)


def make_loss(model, batch):
  def loss(params, scale):
    logits, out = model.apply(
      {"params": params}, batch["features"], batch["packing"], scale
    )
    emotion = losses.masked_cross_entropy(
      logits, batch["emotion"], batch["labelled"]
    )
    if "domain_logits" not in out:
      return emotion, (emotion, logits, out)
    domain = losses.masked_cross_entropy(
      out["domain_logits"], batch["speaker"], batch["real"]
    )
    return emotion + domain, (emotion, logits, out)

  return loss


def make_train(model, batch, transform, scale=1.0):
  grad = jax.grad(make_loss(model, batch), has_aux=True)

  @jax.jit
  def step(params, state):
    grads, (emotion, logits, _) = grad(params, scale)
    updates, state = transform.update(grads, state, params)
    return optax.apply_updates(params, updates), state, emotion, logits

  return step


def torch_batch(batch):
  features = {
    n: torch.tensor(np.array(x)) for n, x in batch["features"].items()
  }
  starts = np.cumsum([0, *LENGTHS])
  conversations = [
    {n: x[start:stop] for n, x in features.items()}
    for start, stop in itertools.pairwise(starts)
  ]
  emotions = torch.tensor(np.array(batch["emotion"]), dtype=torch.long)
  emotions[~torch.tensor(np.array(batch["labelled"]))] = -1
  real = sum(LENGTHS)
  speakers = torch.tensor(np.array(batch["speaker"]), dtype=torch.long)
  return conversations, emotions[:real], speakers[:real]


@pytest.fixture(params=[("audio", "text"), ("text",)], ids=["both", "text"])
def names(request):
  return request.param


@pytest.fixture(autouse=True)
def strict_ranks():
  with jax.numpy_rank_promotion("raise"):
    yield


def make_model(**options):
  return dann.Dann(EMOTIONS, SPEAKERS, HIDDEN, HEADS, **options)


def make_reference(names):
  torch.manual_seed(0)
  return Reference(names)


def apply(model, *arguments, **options):
  """Compiled, in one piece: far quicker than operation by operation."""
  function = jax.jit(model.apply, static_argnames="train")
  return function(*arguments, **options)


def assert_close(got, want, tolerance):
  """Each leaf within `tolerance` of the largest entry of its reference."""
  chex.assert_trees_all_equal_structs(got, want)
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(x, y, atol=tolerance * np.abs(y).max())


def test_outputs_agree_with_pytorch(names):
  batch = make_batch(names)
  reference = make_reference(names)
  logits, out = apply(
    make_model(),
    {"params": to_flax(reference)},
    batch["features"],
    batch["packing"],
    1.0,
  )
  with torch.no_grad():
    conversations, _, _ = torch_batch(batch)
    r = torch.cat([reference.encode(features) for features in conversations])
    want = r, reference.emotion(r), reference.domain(r)
  real = sum(LENGTHS)
  got = out["representation"], logits, out["domain_logits"]
  for x, y in zip(got, want, strict=True):
    np.testing.assert_allclose(x[:real], y, atol=1e-5)
  chex.assert_shape(out["fusion_weights"], (NUM, len(names)))
  np.testing.assert_allclose(out["fusion_weights"].sum(1), 1, rtol=1e-6)
  chex.assert_tree_all_finite((logits, out))


@pytest.mark.parametrize("scale", [0.0, 0.7])
def test_every_gradient_agrees_with_pytorch(names, scale):
  batch = make_batch(names)
  reference = make_reference(names)
  want_emotion, want_domain = reference.backward(*torch_batch(batch), scale)
  loss = make_loss(make_model(), batch)
  (total, (emotion, *_)), grads = jax.jit(
    jax.value_and_grad(loss, has_aux=True)
  )(to_flax(reference), scale)
  np.testing.assert_allclose(emotion, want_emotion, rtol=1e-5)
  np.testing.assert_allclose(total, want_emotion + want_domain, rtol=1e-5)
  assert_close(grads, to_flax(reference, lambda x: x.grad), 1e-4)


def test_five_steps_agree_with_pytorch(names):
  batch = make_batch(names)
  reference = make_reference(names)
  params = to_flax(reference)
  transform = optax.chain(
    optax.add_decayed_weights(1e-2), optax.adam(1e-2, eps=1e-8)
  )
  step = make_train(make_model(), batch, transform, 0.5)
  state = jax.jit(transform.init)(params)
  optimizer = torch.optim.Adam(reference.parameters(), 1e-2, weight_decay=1e-2)
  for _ in range(5):
    params, state, emotion, _ = step(params, state)
    optimizer.zero_grad()
    want, _ = reference.backward(*torch_batch(batch), 0.5)
    optimizer.step()
    np.testing.assert_allclose(emotion, want, rtol=1e-4)
  assert_close(params, to_flax(reference), 1e-3)


def test_the_encoder_receives_the_reversed_domain_gradient():
  batch = make_batch()
  model = make_model()
  params = to_flax(make_reference(WIDTHS))

  def domain_loss(params, scale):
    _, out = model.apply(
      {"params": params}, batch["features"], batch["packing"], scale
    )
    return losses.masked_cross_entropy(
      out["domain_logits"], batch["speaker"], batch["real"]
    )

  grad = jax.jit(jax.grad(domain_loss))
  # With scale -1 the layer passes the gradient on as it is.
  plain, reversed_, none = (
    jax.device_get(grad(params, scale)) for scale in (-1.0, 0.3, 0.0)
  )
  for part in ("fusion", "context"):
    assert max(abs(x).max() for x in jax.tree.leaves(plain[part])) > 1e-4
    want = jax.tree.map(lambda x: np.float32(-0.3) * x, plain[part])
    assert_close(reversed_[part], want, 1e-5)
    assert not any(x.any() for x in jax.tree.leaves(none[part]))
  chex.assert_trees_all_close(
    reversed_["domain_classifier"], plain["domain_classifier"]
  )


def test_lambda_zero_is_the_model_without_the_branch_bit_for_bit():
  """Of runs side by side, as all are trained, also where there is one."""
  batch = make_batch()
  transform = optax.chain(optax.add_decayed_weights(1e-5), optax.adam(1e-2))
  # With XLA's own choice of emitters, which conftest.py turns off.
  as_shipped = functools.partial(
    jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True}
  )
  results = []
  for branch in (True, False):
    model = make_model(domain_classifier=branch)

    def init(key, model=model):
      params = model.init(key, batch["features"], batch["packing"], 0.0)
      return params["params"], transform.init(params["params"])

    keys = jax.random.split(jax.random.key(0), 3)
    params, state = jax.jit(jax.vmap(init))(keys)
    step = as_shipped(jax.vmap(make_train(model, batch, transform, 0.0)))
    history = []
    for _ in range(5):
      params, state, emotion, logits = step(params, state)
      history.append((emotion, logits))
    params.pop("domain_classifier", None)
    results.append((params, history))
  chex.assert_trees_all_equal(*results)


def test_runs_side_by_side_equal_runs_alone():
  batch = make_batch()
  model = make_model()
  init = jax.jit(
    jax.vmap(
      lambda key: model.init(key, batch["features"], batch["packing"], 0.0)
    )
  )
  params = init(jax.random.split(jax.random.key(0), 3))["params"]
  params = jax.device_get(params)
  scales = np.array([0.0, 0.5, 1.0], np.float32)
  grad = jax.jit(jax.grad(make_loss(model, batch), has_aux=True))
  together, _ = jax.device_get(jax.jit(jax.vmap(grad))(params, scales))
  for run, scale in enumerate(scales):
    alone, _ = grad(jax.tree.map(lambda x, run=run: x[run], params), scale)
    assert_close(jax.tree.map(lambda x, run=run: x[run], together), alone, 1e-4)


@pytest.mark.parametrize(
  ("audio", "text", "hidden"), [(6373, 1024, 100), (88, 0, 40), (0, 300, 20)]
)
def test_parameter_count_in_closed_form(audio, text, hidden):
  widths = {"audio": audio, "text": text}
  features = {
    n: jnp.zeros((NUM, width)) for n, width in widths.items() if width
  }
  model = dann.Dann(EMOTIONS, SPEAKERS, hidden)
  params = jax.eval_shape(
    model.init, jax.random.key(0), features, make_packing(), 1.0
  )["params"]
  units = hidden // 2
  want = sum(width * hidden + hidden for width in widths.values() if width)
  want += (hidden * hidden + hidden) * (len(features) > 1)  # W_F, w_F
  want += 2 * 3 * units * (hidden + units + 2)  # bi-GRU
  want += 3 * hidden * hidden  # W_Q, W_K, W_V
  want += hidden * EMOTIONS + EMOTIONS
  want += hidden * hidden + hidden + hidden * SPEAKERS + SPEAKERS
  assert sum(x.size for x in jax.tree.leaves(params)) == want


def test_dropout_needs_training_and_a_key():
  batch = make_batch()
  model = make_model(dropout=0.5)
  params = {"params": to_flax(make_reference(WIDTHS))}
  inputs = batch["features"], batch["packing"], 1.0
  logits, _ = apply(model, params, *inputs)
  want, _ = apply(make_model(), params, *inputs)
  chex.assert_trees_all_equal(logits, want)
  first, second = (
    apply(
      model,
      params,
      *inputs,
      train=True,
      rngs={"dropout": jax.random.key(seed)},
    )[0]
    for seed in (0, 1)
  )
  assert (first != second).any()


def test_it_learns_a_tiny_batch_by_heart():
  batch = make_batch()
  transform = optax.adam(1e-2)
  params = to_flax(make_reference(WIDTHS))
  step = make_train(make_model(), batch, transform, 0.0)
  state = jax.jit(transform.init)(params)
  for _ in range(200):
    params, state, loss, logits = step(params, state)
  assert loss < 0.01
  right = logits.argmax(1) == batch["emotion"]
  assert right[batch["labelled"]].all()
