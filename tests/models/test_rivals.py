"""The rivals against PyTorch, which takes one conversation at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from emojax import losses
from emojax.models import rivals
from emojax.models.recurrent import Packing

EMOTIONS, HIDDEN = 4, 8
HISTORY = 3  # Utterances that CMN can go back.
WIDTHS = {"audio": 7, "text": 5}
LENGTHS = (6, 3, 1, 4)
NUM = sum(LENGTHS) + 1  # One utterance belongs to no conversation.
STARTS = np.cumsum([0, *LENGTHS])
# The second conversation is one of three people, the third a monologue.
PARTY = np.array([*(0, 1, 0, 0, 1, 0), *(0, 1, 2), 0, *(0, 1, 1, 0), 0])


class BcLstm(nn.Module):
  """Poria et al. 2017, section 3.3."""

  def __init__(self, width):
    super().__init__()
    self.lstm = nn.LSTM(width, HIDDEN // 2, bidirectional=True)
    self.dense = nn.Linear(HIDDEN, HIDDEN)

  def forward(self, x, party):
    return torch.relu(self.dense(self.lstm(x)[0]))


class Cmn(nn.Module):
  """Hazarika et al. 2018: each utterance with memories of its own."""

  def __init__(self, width):
    super().__init__()
    self.question = nn.Linear(width, HIDDEN)
    self.local = nn.ModuleList(nn.GRU(width, HIDDEN) for _ in range(2))
    self.memory = nn.ModuleList(nn.GRU(HIDDEN, HIDDEN) for _ in range(2))

  def cells(self, which, x):
    return self.memory[which](torch.tanh(self.local[which](x)[0]))[0]

  def forward(self, x, party):
    answers = []
    for turn in range(len(x)):
      memories = [[], []]
      for person in set(party[:turn].tolist()):
        (turns,) = torch.nonzero(party[:turn] == person, as_tuple=True)
        which = int(person != party[turn])
        cells = self.cells(which, x[turns])
        memories[which].append(cells[turns >= turn - HISTORY])
      q = torch.tanh(self.question(x[turn]))
      for _ in range(3):
        total = q
        for memory in filter(None, memories):
          m = torch.cat(memory)
          if not len(m):
            continue
          total = total + torch.softmax(torch.tanh(m @ q), 0) @ m
        q = torch.tanh(total)
      answers.append(q)
    return torch.stack(answers)


class Direction(nn.Module):
  """Majumder et al. 2019, Eqs. (1) to (5), an utterance after the other."""

  def __init__(self, width):
    super().__init__()
    units = HIDDEN // 2
    self.everyone = nn.GRUCell(width + units, units)
    self.party = nn.GRUCell(width + units, units)
    self.emotion = nn.GRUCell(units, units)
    self.context = nn.Linear(width, units, bias=False)

  def forward(self, x, party):
    zero = torch.zeros(HIDDEN // 2)
    heard, emotions, states = [zero], [zero], {}
    for u, who in zip(x, party.tolist(), strict=True):
      old = states.get(who, zero)
      context = zero
      if past := heard[1:]:
        g = torch.stack(past)
        context = torch.softmax(g @ self.context(u), 0) @ g
      heard.append(self.everyone(torch.cat([u, old]), heard[-1]))
      states[who] = self.party(torch.cat([u, context]), old)
      emotions.append(self.emotion(states[who], emotions[-1]))
    return torch.stack(emotions[1:])


class DialogueRnn(nn.Module):
  """BiDialogueRNN with attention."""

  def __init__(self, width):
    super().__init__()
    self.directions = nn.ModuleList(Direction(width) for _ in range(2))
    self.attention = nn.Linear(HIDDEN, HIDDEN, bias=False)
    self.dense = nn.Linear(HIDDEN, HIDDEN)

  def forward(self, x, party):
    forward, backward = self.directions
    after = backward(x.flip(0), party.flip(0)).flip(0)
    e = torch.cat([forward(x, party), after], 1)
    attended = torch.softmax(self.attention(e) @ e.T, 1) @ e
    return torch.relu(self.dense(attended))


class Reference(nn.Module):
  def __init__(self, context):
    super().__init__()
    self.projections = nn.ModuleDict(
      {name: nn.Linear(width, HIDDEN) for name, width in WIDTHS.items()}
    )
    self.context = context(HIDDEN * len(WIDTHS))
    self.output = nn.Linear(HIDDEN, EMOTIONS)

  def forward(self, features, party):
    x = [layer(features[n]) for n, layer in self.projections.items()]
    representation = self.context(torch.cat(x, 1), party)
    return self.output(representation), representation


def dense(layer, of):
  tree = {"kernel": of(layer.weight).T}
  return tree if layer.bias is None else tree | {"bias": of(layer.bias)}


def stacked(layers, of, names, end=""):
  """Kernels [.., E, ..] and biases of recurrent layers side by side."""
  w_ih, w_hh, b_ih, b_hh = (
    np.stack([of(getattr(layer, f"{name}{end}")) for layer in layers])
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
  )
  tree = w_ih.transpose(2, 0, 1), w_hh.transpose(0, 2, 1), b_ih, b_hh
  return dict(zip(names, tree, strict=True))


GRU = ("input_kernel", "recurrent_kernel", "input_bias", "recurrent_bias")


def of_bc_lstm(context, of, of_bias):
  lstm = context.lstm
  both = ("", "_reverse")
  w_ih, w_hh = (
    np.stack([of(getattr(lstm, f"{name}_l0{end}")) for end in both])
    for name in ("weight_ih", "weight_hh")
  )
  bias = np.stack(
    [
      of_bias(
        getattr(lstm, f"bias_ih_l0{end}"), getattr(lstm, f"bias_hh_l0{end}")
      )
      for end in both
    ]
  )
  return {
    "lstm": {
      "input_kernel": w_ih.transpose(2, 0, 1),
      "recurrent_kernel": w_hh.transpose(0, 2, 1),
      "bias": bias,
    },
    "dense": dense(context.dense, of),
  }


def of_cmn(context, of, of_bias):
  return {
    "question": dense(context.question, of),
    "local_gru": stacked(context.local, of, GRU, "_l0"),
    "memory_gru": stacked(context.memory, of, GRU, "_l0"),
  }


def of_dialogue_rnn(context, of, of_bias):
  parties = {}
  for name, of_direction in (("global", "everyone"), ("party", "party")):
    cells = [getattr(d, of_direction) for d in context.directions]
    tree = stacked(cells, of, GRU)
    both = tree.pop("input_kernel")
    width = HIDDEN * len(WIDTHS)
    tree["input_kernel"] = both[:width]
    tree["other_kernel"] = both[width:].transpose(1, 0, 2)
    parties |= {f"{name}_{key}": value for key, value in tree.items()}
  query = np.stack([of(d.context.weight) for d in context.directions])
  parties["context_kernel"] = query.transpose(2, 0, 1)
  cells = [d.emotion for d in context.directions]
  return {
    "parties": parties,
    "emotion_gru": stacked(cells, of, GRU),
    "attention": dense(context.attention, of),
    "dense": dense(context.dense, of),
  }


CASES = {
  "bc_lstm": (BcLstm, of_bc_lstm),
  "cmn": (Cmn, of_cmn),
  "dialogue_rnn": (DialogueRnn, of_dialogue_rnn),
}


def to_flax(name, model, of, of_bias):
  tree = {
    key: {"kernel": of(layer.weight), "bias": of(layer.bias)}
    for key, layer in model.projections.items()
  }
  tree["context"] = CASES[name][1](model.context, of, of_bias)
  tree["emotion_classifier"] = {"output": dense(model.output, of)}
  return jax.tree.map(lambda x: jnp.array(x, jnp.float32), tree)


def pack(rows, party=PARTY):
  """Rows of conversations, by their numbers, of 12 positions."""
  position = np.full((len(rows), 12), NUM, np.int32)
  segment = np.zeros((len(rows), 12), np.int32)
  for row, conversations in enumerate(rows):
    place = 0
    for number, one in enumerate(conversations, 1):
      stop = place + LENGTHS[one]
      position[row, place:stop] = range(STARTS[one], STARTS[one + 1])
      segment[row, place:stop] = number
      place = stop
  arrays = position, segment, party.astype(np.int32)
  return Packing(*map(jnp.asarray, arrays))


@pytest.fixture(scope="module")
def inputs():
  rng = np.random.default_rng(0)
  features = {
    name: rng.normal(size=(NUM, width)).astype(np.float32)
    for name, width in WIDTHS.items()
  }
  return features, rng.integers(0, EMOTIONS, NUM)


@pytest.fixture(scope="module", params=CASES)
def case(request, inputs):
  """The name, a reference, its parameters, and a compiled gradient of ours."""
  features, emotion = inputs
  torch.manual_seed(0)
  reference = Reference(CASES[request.param][0])
  model = rivals.make(request.param, EMOTIONS, 3, HIDDEN, 0.0)
  if request.param == "cmn":
    model = model.clone(context=model.context.clone(history=HISTORY))
  params = to_flax(
    request.param,
    reference,
    lambda tensor: tensor.detach().numpy(),
    lambda a, b: (a + b).detach().numpy(),
  )
  # The last conversation has no labels.
  labelled = np.arange(NUM) < STARTS[3]

  def loss(params, packing):
    logits, out = model.apply({"params": params}, features, packing)
    found = losses.masked_cross_entropy(logits, emotion, labelled)
    return found, (logits, out["representation"])

  grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
  return request.param, reference, params, grad


def test_outputs_and_gradients_agree_with_pytorch(case, inputs):
  name, reference, params, grad = case
  features, emotion = inputs
  (loss, outputs), grads = grad(params, pack([[1, 0], [3, 2]]))

  conversations = [
    (
      {n: torch.tensor(x[start:stop]) for n, x in features.items()},
      torch.tensor(PARTY[start:stop]),
    )
    for start, stop in itertools.pairwise(STARTS)
  ]
  found = [reference(*one) for one in conversations]
  want = [torch.cat(parts) for parts in zip(*found, strict=True)]
  target = torch.tensor(emotion[: STARTS[3]])
  want_loss = nn.functional.cross_entropy(want[0][: STARTS[3]], target)
  want_loss.backward()
  np.testing.assert_allclose(loss, want_loss.item(), rtol=1e-5)
  for got, tensor in zip(outputs, want, strict=True):
    np.testing.assert_allclose(got[:-1], tensor.detach(), atol=1e-5)
    assert np.isfinite(got).all()
  want_grads = to_flax(
    name, reference, lambda x: x.grad.numpy(), lambda a, b: a.grad.numpy()
  )
  assert jax.tree.structure(grads) == jax.tree.structure(want_grads)
  pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(want_grads), strict=True)
  for got, of_torch in pairs:
    scale = np.abs(of_torch).max()
    assert scale > 0
    np.testing.assert_allclose(got, of_torch, atol=1e-4 * scale)


def test_where_a_conversation_stands_does_not_matter(case):
  *_, params, grad = case
  (want, outputs), grads = grad(params, pack([[1, 0], [3, 2]]))
  (loss, moved), others = grad(params, pack([[2, 3, 0], [1]]))
  np.testing.assert_allclose(loss, want, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    ([x[:-1] for x in outputs], grads),
    ([x[:-1] for x in moved], others),
  )


def test_only_who_speaks_again_matters_not_who_it_is(case):
  """Every way to number the parties of a conversation gives the same."""
  name, _, params, grad = case
  rows = [[1, 0], [3, 2]]
  (_, outputs), _ = grad(params, pack(rows))
  turned = pack(rows, (PARTY + np.repeat([1, 2, 1, 2, 0], (*LENGTHS, 1))) % 3)
  (_, same), _ = grad(params, turned)
  for x, y in zip(outputs, same, strict=True):
    np.testing.assert_allclose(x[:-1], y[:-1], atol=1e-5)
  (_, alone), _ = grad(params, pack(rows, np.zeros_like(PARTY)))
  assert np.allclose(alone[0][:-1], outputs[0][:-1]) == (name == "bc_lstm")
