"""A packed GRU, its gradient written out.

T positions of a row, E directions, B rows, H units, G = 3 H (the gates, in
PyTorch's order: reset, update, new).
"""

import jax
import jax.numpy as jnp

from emojax.kernels import target


def gru(inputs_TxExBxG, keep_TxExB, kernel_ExHxG, bias_ExG):
  """Gated recurrent units of E directions over packed rows, in one scan.

  PyTorch's and cuDNN's form: with x the input products and a the recurrent
  ones (their bias added), r = sigmoid(x_r + a_r), z = sigmoid(x_z + a_z),
  n = tanh(x_n + r a_n), h = (1 - z) n + z h'. Where `keep` is 0 the state h'
  before the position is zero: a conversation begins.

  The gradient is written out: the backward scan carries only the state's
  gradient, with one small product a position, and the weights' gradients are
  one large product after it (automatic differentiation adds up a
  weight-sized array at every position). On a GPU it finds the gates from the
  states once more, of all positions at once: a fifth of the memory, and fewer
  launches of small operations; its time there has not been measured. (Ten
  positions in one turn of the loop would be fewer launches still, and compile
  four times as long.) A CPU keeps the gates.

  Inputs (products with the input kernel, bias added, in order of time) are
  float32, as is the result: [T, E, B, H], the state after each position.
  """
  by_platform = _of_states if target.platform() == "gpu" else _of_all
  return by_platform(inputs_TxExBxG, keep_TxExB, kernel_ExHxG, bias_ExG)


@jax.custom_vjp
def _of_all(inputs, keep, kernel, bias):
  """The gradient from all that the forward scan has computed."""
  return _forward(inputs, keep, kernel, bias)[0]


def _forward(inputs, keep, kernel, bias):
  num_units = kernel.shape[1]

  def step(state, position):
    x, keep = position
    before = state * keep[..., None]
    a = jnp.einsum("ebh,ehg->ebg", before, kernel) + bias[:, None]
    reset_update = jax.nn.sigmoid(
      x[..., : 2 * num_units] + a[..., : 2 * num_units]
    )
    reset, update = jnp.split(reset_update, 2, -1)
    a_new = a[..., 2 * num_units :]
    new = jnp.tanh(x[..., 2 * num_units :] + reset * a_new)
    state = new + update * (before - new)
    return state, (state, before, reset_update, new, a_new)

  start = jnp.zeros((*inputs.shape[1:3], num_units), inputs.dtype)
  _, (states, *saved) = jax.lax.scan(step, start, (inputs, keep))
  return states, (saved, keep, kernel)


def _backward(residuals, grad_TxExBxH):
  saved, keep, kernel = residuals

  def step(carry, position):
    grad, keep, before, reset_update, new, a_new = position
    reset, update = jnp.split(reset_update, 2, -1)
    grad = grad + carry
    d_new = grad * (1 - update) * (1 - new * new)
    d_reset = d_new * a_new * reset * (1 - reset)
    d_update = grad * (before - new) * update * (1 - update)
    d_a = jnp.concatenate([d_reset, d_update, d_new * reset], -1)
    d_x = jnp.concatenate([d_reset, d_update, d_new], -1)
    carry = grad * update + jnp.einsum("ebg,egh->ebh", d_a, transposed_ExGxH)
    return carry * keep[..., None], (d_x, d_a)

  # Once, rather than at every position.
  transposed_ExGxH = kernel.swapaxes(1, 2)
  start = jnp.zeros_like(grad_TxExBxH[0])
  _, (d_inputs, d_a) = jax.lax.scan(
    step, start, (grad_TxExBxH, keep, *saved), reverse=True
  )
  d_kernel = jnp.einsum("tebg,tebh->ehg", d_a, saved[0])
  return d_inputs, None, d_kernel, d_a.sum((0, 2))


_of_all.defvjp(_forward, _backward)


@jax.custom_vjp
def _of_states(inputs, keep, kernel, bias):
  """The gradient from the states alone."""
  return _forward_states(inputs, keep, kernel, bias)[0]


def _forward_states(inputs, keep, kernel, bias):
  def step(state, position):
    x, keep = position
    before = state * keep[..., None]
    a = jnp.einsum("ebh,ehg->ebg", before, kernel) + bias[:, None]
    _, update, new, _ = _gates(x, a)
    state = new + update * (before - new)
    return state, state

  start = jnp.zeros((*inputs.shape[1:3], kernel.shape[1]), inputs.dtype)
  _, states = jax.lax.scan(step, start, (inputs, keep))
  return states, (states, inputs, keep, kernel, bias)


def _gates(x, a):
  """Reset, update, new, and the part of a that reset is multiplied with."""
  size = 2 * x.shape[-1] // 3
  both = jax.nn.sigmoid(x[..., :size] + a[..., :size])
  reset, update = jnp.split(both, 2, -1)
  a_new = a[..., size:]
  return reset, update, jnp.tanh(x[..., size:] + reset * a_new), a_new


def _backward_states(residuals, grad_TxExBxH):
  states, inputs, keep, kernel, bias = residuals
  before = jnp.pad(states[:-1], ((1, 0), (0, 0), (0, 0), (0, 0)))
  before *= keep[..., None]
  a = jnp.einsum("tebh,ehg->tebg", before, kernel) + bias[None, :, None]
  reset, update, new, a_new = _gates(inputs, a)
  # What the gradient of a state is multiplied with on its way to the gates.
  to_new = (1 - update) * (1 - new * new)
  to_reset = to_new * a_new * reset * (1 - reset)
  to_update = (before - new) * update * (1 - update)
  to_a = jnp.concatenate([to_reset, to_update, to_new * reset], -1)

  def step(carry, position):
    grad, to_a, update, keep = position
    grad = grad + carry
    d_a = to_a * jnp.tile(grad, 3)
    carry = grad * update + jnp.einsum("ebg,egh->ebh", d_a, transposed_ExGxH)
    return carry * keep[..., None], grad

  transposed_ExGxH = kernel.swapaxes(1, 2)
  start = jnp.zeros_like(grad_TxExBxH[0])
  positions = grad_TxExBxH, to_a, update, keep
  _, grad = jax.lax.scan(step, start, positions, reverse=True)
  d_a = to_a * jnp.tile(grad, 3)
  d_inputs = jnp.concatenate([d_a[..., : -grad.shape[-1]], to_new * grad], -1)
  d_kernel = jnp.einsum("tebg,tebh->ehg", d_a, before)
  return d_inputs, None, d_kernel, d_a.sum((0, 2))


_of_states.defvjp(_forward_states, _backward_states)
