"""Padding and packing do not matter; conversations do not see one another."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.models import recurrent, sa_gru

HIDDEN = 8


def pack(rows, length, num_utterances):
  """Packs rows of conversations, each a list of utterance numbers."""
  position = np.full((len(rows), length), num_utterances, np.int32)
  segment = np.zeros((len(rows), length), np.int32)
  for number, conversations in enumerate(rows):
    start = 0
    for index, utterances in enumerate(conversations, 1):
      stop = start + len(utterances)
      position[number, start:stop] = utterances
      segment[number, start:stop] = index
      start = stop
  return sa_gru.Packing(jnp.asarray(position), jnp.asarray(segment))


@pytest.fixture(scope="module")
def setup():
  x = jax.random.normal(jax.random.key(0), (10, HIDDEN))
  model = sa_gru.SaGru(hidden=HIDDEN, num_heads=2)
  packing = pack([[range(10)]], 10, 10)
  params = jax.jit(model.init)(jax.random.key(1), x, packing)["params"]
  # Biases start at zero: move them, or a wrong one would not show.
  rng = np.random.default_rng(2)
  params = jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params
  )
  return (
    x,
    params,
    jax.jit(
      lambda params, x, packing: model.apply({"params": params}, x, packing)
    ),
  )


@pytest.fixture(scope="module")
def gradient(setup):
  """Of the parameters, and the outputs of the conversation 0..3."""
  x, params, apply = setup

  def loss(params, packing):
    out = apply(params, x, packing)[:4]
    return (out**2).sum(), out

  return functools.partial(jax.jit(jax.grad(loss, has_aux=True)), params)


# The conversation 0..3 stands alone, padded, first, last, and in another row.
A, B, C = range(4), [4, 5, 6], [7, 8]


@pytest.mark.parametrize(
  ("rows", "length"),
  [  # Of two shapes, as each is compiled.
    ([[A]], 9),
    ([[A, B]], 9),
    ([[B, A]], 9),
    ([[B, C], [A]], 12),
    ([[C], [B, A, C[:0]]], 12),
    ([[], [B, A]], 12),
  ],
  ids=["padded", "first", "last", "row", "far", "empty row"],
)
def test_a_conversation_is_the_same_wherever_it_stands(gradient, rows, length):
  want_grads, want = gradient(pack([[A]], 4, 10))
  grads, got = gradient(pack(rows, length, 10))
  chex.assert_trees_all_close(got, want, atol=1e-6)
  chex.assert_trees_all_close(grads, want_grads, rtol=1e-5, atol=1e-6)


def test_conversations_do_not_see_one_another(setup):
  x, params, apply = setup
  packing = pack([[A, B], [C]], 8, 10)
  want = apply(params, x, packing)
  moved = apply(params, x.at[jnp.array(B)].add(1.0), packing)
  others = np.array([*A, *C])
  chex.assert_trees_all_equal(moved[others], want[others])
  assert (jnp.abs(moved[jnp.array(B)] - want[jnp.array(B)]) > 1e-3).any()

  grad = jax.jit(
    jax.grad(lambda x: apply(params, x, packing)[jnp.array(B)].sum())
  )(x)
  assert (grad[others] == 0).all()
  assert (grad[jnp.array(B)] != 0).any(1).all()


def test_an_utterance_of_no_conversation_is_zero_with_no_gradient(setup):
  x, params, apply = setup
  packing = pack([[A, B], [C]], 8, 10)  # Utterance 9 is in none.
  out = apply(params, x, packing)
  assert (out[9] == 0).all()
  assert (out[:9] != 0).any(1).all()
  grad = jax.jit(jax.grad(lambda x: (apply(params, x, packing) ** 2).sum()))(x)
  assert (grad[9] == 0).all()


def test_every_utterance_uses_its_whole_conversation(setup):
  x, params, apply = setup
  packing = pack([[B, A]], 8, 10)
  jacobian = jax.jit(jax.jacobian(lambda x: apply(params, x, packing).sum(1)))(
    x
  )
  reached = (jacobian != 0).any(-1)
  for utterances in (np.array(A), np.array(B)):
    assert reached[np.ix_(utterances, utterances)].all()


def test_scaled_attention_is_softer(setup):
  x, params, apply = setup
  packing = pack([[range(10)]], 10, 10)
  scaled = sa_gru.SaGru(HIDDEN, num_heads=2, scale_attention=True)
  quarter = jax.tree.map(lambda x: x, params)
  kernel = params["attention"]["kernel"]
  quarter["attention"] = {"kernel": kernel.at[:, 0].divide(jnp.sqrt(4.0))}
  chex.assert_trees_all_close(
    jax.jit(scaled.apply)({"params": params}, x, packing),
    apply(quarter, x, packing),
    rtol=1e-5,
    atol=1e-6,
  )


def test_recurrent_kernels_start_orthogonal(setup):
  x = setup[0]
  sequences = recurrent.both_directions(pack([[A]], 4, 10))
  params = jax.jit(recurrent.Gru(4).init)(jax.random.key(0), x, sequences)
  params = params["params"]
  kernels = params["recurrent_kernel"].reshape(2, 4, 3, 4)
  products = jnp.einsum("ehgk,ejgk->eghj", kernels, kernels)
  identity = jnp.broadcast_to(jnp.eye(4), (2, 3, 4, 4))
  chex.assert_trees_all_close(products, identity, atol=1e-5)
  assert not params["input_bias"].any()
  assert not params["recurrent_bias"].any()


def test_orthogonal_kernels_are_those_of_a_qr_decomposition():
  key = jax.random.key(3)
  gates = jax.jit(recurrent.orthogonal_gates, static_argnums=1)(key, (2, 6, 18))
  keys = jax.random.split(key, (2, 3))
  normal = np.asarray(jax.random.normal(keys[1, 2], (6, 6)), np.float64)
  basis, triangle = np.linalg.qr(normal)
  want = basis * np.sign(np.diag(triangle))
  np.testing.assert_allclose(gates[1, :, 12:], want, atol=1e-5)
