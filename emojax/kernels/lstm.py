"""A packed LSTM, its gradient written out.

T positions of a row, E directions, B rows, H units, G = 4 H (the gates, in
PyTorch's order: input, forget, cell, output).
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def lstm(inputs_TxExBxG, keep_TxExB, kernel_ExHxG):
  """Long short-term memory of E directions over packed rows, in one scan.

  With x the input products (bias added) and a = x + h' W: i, f, o =
  sigmoid(a_i, a_f, a_o), g = tanh(a_g), c = f c' + i g, h = o tanh(c). Where
  `keep` is 0 both states before the position are zero: a conversation begins.

  As in `gru`, the backward scan carries the gradients of the states alone, and
  the weights' gradient is one large product after it.

  Inputs, in order of time, are float32, as is the result: h [T, E, B, H].
  """
  return _forward(inputs_TxExBxG, keep_TxExB, kernel_ExHxG)[0]


def _forward(inputs, keep, kernel):
  num_units = kernel.shape[1]

  def step(states, position):
    x, keep = position
    hidden, cell = (state * keep[..., None] for state in states)
    a = x + jnp.einsum("ebh,ehg->ebg", hidden, kernel)
    enter, forget, new, leave = jnp.split(a, 4, -1)
    gates = jax.nn.sigmoid(jnp.concatenate([enter, forget, leave], -1))
    enter, forget, leave = jnp.split(gates, 3, -1)
    new = jnp.tanh(new)
    squashed = jnp.tanh(state := forget * cell + enter * new)
    after = leave * squashed
    return (after, state), (after, hidden, cell, gates, new, squashed)

  start = jnp.zeros((*inputs.shape[1:3], num_units), inputs.dtype)
  _, (states, *saved) = jax.lax.scan(step, (start, start), (inputs, keep))
  return states, (saved, keep, kernel)


def _backward(residuals, grad_TxExBxH):
  (hidden, *saved), keep, kernel = residuals

  def step(carry, position):
    grad, keep, cell, gates, new, squashed = position
    enter, forget, leave = jnp.split(gates, 3, -1)
    d_hidden, d_cell = carry
    d_hidden = d_hidden + grad
    d_cell = d_cell + d_hidden * leave * (1 - squashed * squashed)
    d_gates = jnp.concatenate(
      [d_cell * new, d_cell * cell, d_hidden * squashed], -1
    )
    d_gates = d_gates * gates * (1 - gates)
    d_enter, d_forget, d_leave = jnp.split(d_gates, 3, -1)
    d_new = d_cell * enter * (1 - new * new)
    d_a = jnp.concatenate([d_enter, d_forget, d_new, d_leave], -1)
    before = jnp.einsum("ebg,egh->ebh", d_a, transposed_ExGxH), d_cell * forget
    return tuple(state * keep[..., None] for state in before), d_a

  # Once, rather than at every position.
  transposed_ExGxH = kernel.swapaxes(1, 2)
  start = jnp.zeros_like(grad_TxExBxH[0])
  _, d_inputs = jax.lax.scan(
    step, (start, start), (grad_TxExBxH, keep, *saved), reverse=True
  )
  d_kernel = jnp.einsum("tebg,tebh->ehg", d_inputs, hidden)
  return d_inputs, None, d_kernel


lstm.defvjp(_forward, _backward)
