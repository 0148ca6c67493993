"""Pure functions on arrays: gradient reversal, a packed GRU, attention.

Shapes are in the names: N utterances, T positions of a row, B rows, H units of
a recurrent layer, G = 3 H (its gates, in PyTorch's order: reset, update, new).
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gradient_reversal(x, scale):
  """Passes `x` on; multiplies its gradient by `-scale` on the way back.

  Source: Ganin & Lempitsky 2015, "Unsupervised domain adaptation by
  backpropagation", Eqs. (14)-(15).

  Args:
    x: array of any shape.
    scale: scalar, lambda in the paper; may be traced. Its gradient is zero.
  """
  del scale
  return x


def _gradient_reversal_forward(x, scale):
  return x, scale


def _gradient_reversal_backward(scale, grad):
  scale = jnp.asarray(scale)
  return -scale.astype(grad.dtype) * grad, jnp.zeros_like(scale)


gradient_reversal.defvjp(
  _gradient_reversal_forward, _gradient_reversal_backward
)


@jax.custom_vjp
def gather_rows(x_NxD, source, target):
  """Rows `x[source]`, zero where `source` is N; a gather on the way back too.

  XLA turns the gradient of an ordinary gather into a scatter, which is slow on
  a CPU and not deterministic on a GPU. Here every row is used at most once, so
  the gradient is the gather by the inverse index.

  Args:
    x_NxD: array of N rows.
    source: int32 array of M row numbers in [0, N]; no number below N twice.
    target: int32 [N], the inverse: the place of each row in `source`, or M
      where the row is not used.

  Returns:
    [M, D].
  """
  return _take_rows(x_NxD, source)


@jax.custom_batching.custom_vmap
def _take_rows(x_NxD, index):
  return jnp.take(x_NxD, index, axis=0, mode="fill", fill_value=0)


@_take_rows.def_vmap
def _take_rows_of_runs(axis_size, in_batched, x, index):
  """One gather from the rows of all runs, numbered throughout.

  The general rule gathers slices over all runs, and XLA then has to move the
  run axis back to the front of every array.
  """
  x_RxNxD, index_RxM = (
    array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))
    for array, batched in zip((x, index), in_batched, strict=True)
  )
  num_rows, width = x_RxNxD.shape[1:]
  first_R = num_rows * jnp.arange(axis_size, dtype=index.dtype)
  row_RxM = jnp.where(
    index_RxM < num_rows,
    first_R[:, None] + index_RxM,
    axis_size * num_rows,
  )
  taken = _take_rows(x_RxNxD.reshape(-1, width), row_RxM.reshape(-1))
  return taken.reshape(axis_size, -1, width), True


def _gather_rows_forward(x_NxD, source, target):
  return _take_rows(x_NxD, source), target


def _gather_rows_backward(target, grad_MxD):
  return _take_rows(grad_MxD, target), None, None


gather_rows.defvjp(_gather_rows_forward, _gather_rows_backward)


@jax.custom_vjp
def gru(inputs_TxExBxG, keep_TxExB, kernel_ExHxG, bias_ExG):
  """Gated recurrent units of E directions over packed rows, in one scan.

  PyTorch's and cuDNN's form: with x the input products and a the recurrent
  ones (their bias added), r = sigmoid(x_r + a_r), z = sigmoid(x_z + a_z),
  n = tanh(x_n + r a_n), h = (1 - z) n + z h'. Where `keep` is 0 the state h'
  before the position is zero: a conversation begins.

  The gradient is written out: the backward scan carries only the state's
  gradient, with one small product a position, and the weights' gradients are
  one large product after it (automatic differentiation adds up a
  weight-sized array at every position).

  Args:
    inputs_TxExBxG: float32 input products, bias added, in order of time.
    keep_TxExB: float32, 1 where the state is carried over, else 0.
    kernel_ExHxG: recurrent kernels.
    bias_ExG: recurrent biases.

  Returns:
    float32 [T, E, B, H], the state after each position.
  """
  return _gru_forward(inputs_TxExBxG, keep_TxExB, kernel_ExHxG, bias_ExG)[0]


def _gru_forward(inputs, keep, kernel, bias):
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


def _gru_backward(residuals, grad_TxExBxH):
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


gru.defvjp(_gru_forward, _gru_backward)


@jax.custom_vjp
def segment_attention(query_AxBxTxD, key_AxBxTxD, value_AxBxTxD, segment_BxT):
  """softmax(Q K^T) V of A heads, each position within its own segment.

  Source: Lian et al. 2020, Eq. (4). A position of segment 0 (padding) attends
  to nothing and yields zero. The gradient is written out so that no array of
  T x T is passed over more often than it must be: the softmax is normalised
  after the product with V, and its gradient needs only the row sums of
  output x gradient (Dao et al. 2022, "FlashAttention", Appendix B).

  Args:
    query_AxBxTxD, key_AxBxTxD, value_AxBxTxD: float32.
    segment_BxT: int32, 0 for padding, else the segment within the row.

  Returns:
    float32 [A, B, T, D].
  """
  return _attention_forward(
    query_AxBxTxD, key_AxBxTxD, value_AxBxTxD, segment_BxT
  )[0]


def _attention_forward(query, key, value, segment):
  mask_BxTxT = segment[:, :, None] == segment[:, None, :]
  mask_BxTxT &= segment[:, :, None] > 0
  logits = jnp.einsum("abtd,absd->abts", query, key)
  logits = jnp.where(mask_BxTxT[None], logits, -jnp.inf)
  top = logits.max(-1, keepdims=True)
  weights = jnp.exp(logits - jnp.where(jnp.isneginf(top), 0, top))
  total = weights.sum(-1, keepdims=True)
  total = jnp.where(total > 0, total, 1)
  output = jnp.einsum("abts,absd->abtd", weights, value) / total
  return output, (query, key, value, weights, total, output)


def _attention_backward(residuals, grad):
  query, key, value, weights, total, output = residuals
  grad = grad / total
  d_value = jnp.einsum("abts,abtd->absd", weights, grad)
  d_weights = jnp.einsum("abtd,absd->abts", grad, value)
  d_logits = weights * (d_weights - (grad * output).sum(-1, keepdims=True))
  d_query = jnp.einsum("abts,absd->abtd", d_logits, key)
  d_key = jnp.einsum("abts,abtd->absd", d_logits, query)
  return d_query, d_key, d_value, None


segment_attention.defvjp(_attention_forward, _attention_backward)
