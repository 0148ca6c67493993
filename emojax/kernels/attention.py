"""Attention: within the segments of packed rows, and as the encoders have it.

A or H heads of D units, B rows or sequences of T queries and S keys.
"""

import jax
import jax.numpy as jnp

from emojax.kernels import target
from emojax.runtime import sharding

# Far below any score, and yet a number: a row without a single valid key gives
# the mean of the values, not NaN.
_EXCLUDED = -1e30
# On a CPU: weights of a head (T * S) from which on they are not all in memory
# at once, and queries of a block then.
_MANY_WEIGHTS = 2**17
_BLOCK = 384


def attend(
  query_BxTxHxD: jax.Array,
  key_BxSxHxD: jax.Array,
  value_BxSxHxD: jax.Array,
  mask_BxS: jax.Array | None = None,
  bias_BxHxTxS: jax.Array | None = None,
  dropout_rate: float = 0.0,
  dropout_key: jax.Array | None = None,
) -> jax.Array:
  """Scaled dot-product attention (Vaswani et al. 2017, Eq. 1).

  Queries come unscaled; the mask is true where a key may be attended to, which
  are the first ones of a row; the bias is added to the scaled scores; without
  `dropout_key` no weight is dropped. Where weights are dropped, all of them are
  in memory: cuDNN's flash attention, as JAX offers it, drops none. The result
  is [B, T, H, D] in the type of the query, softmax float32.
  """
  drops = dropout_key is not None and dropout_rate > 0
  if not drops and _cudnn_takes(query_BxTxHxD):
    operands = query_BxTxHxD, key_BxSxHxD, value_BxSxHxD
    return _attend_by_cudnn(*operands, mask_BxS, bias_BxHxTxS)
  mask = None if mask_BxS is None else mask_BxS[:, None, None, :]
  # Products of one head each over contiguous memory: on a CPU 2.4 times as fast
  # as an einsum of the layout above.
  query = query_BxTxHxD.transpose(0, 2, 1, 3) * query_BxTxHxD.shape[-1] ** -0.5
  key = key_BxSxHxD.transpose(0, 2, 3, 1)
  value = value_BxSxHxD.transpose(0, 2, 1, 3)
  if _in_blocks(query, key) and bias_BxHxTxS is None and not drops:
    output = sharding.by_rows(_attend_in_blocks, (query, key, value, mask))
  else:
    rate = dropout_rate if drops else 0.0
    output = _attend(query, key, value, mask, bias_BxHxTxS, rate, dropout_key)
  return output.transpose(0, 2, 1, 3)


def _attend(
  query, key, value, mask, bias=None, dropout_rate=0.0, dropout_key=None
):
  """Queries [..., T, D] that are scaled, keys [..., D, S], values [..., S, D].

  The softmax is normalised after the product with the values, which are fewer.
  """
  scores = jnp.matmul(query, key, preferred_element_type=jnp.float32)
  if bias is not None:
    scores += bias
  if mask is not None:
    scores = jnp.where(mask, scores, _EXCLUDED)
  highest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
  weights = jnp.exp(scores - highest)
  total = weights.sum(axis=-1, keepdims=True)
  if dropout_rate > 0:
    kept = jax.random.bernoulli(dropout_key, 1 - dropout_rate, weights.shape)
    weights = jnp.where(kept, weights / (1 - dropout_rate), 0)
  output = jnp.matmul(
    weights.astype(query.dtype), value, preferred_element_type=jnp.float32
  )
  return (output / total).astype(query.dtype)


def _in_blocks(query_BxHxTxD, key_BxHxDxS):
  size = query_BxHxTxD.shape[2] * key_BxHxDxS.shape[3]
  return target.platform() == "cpu" and size >= _MANY_WEIGHTS


def _attend_in_blocks(query_BxHxTxD, key_BxHxDxS, value_BxHxSxD, mask_Bx1x1xS):
  """A head and a block of its queries at a time: weights stay in the cache.

  With 1,500 frames and 8 heads in 0.4 of the time of all at once, which writes
  72 MB of weights to new pages; with its gradient in 0.8, although the backward
  pass computes the weights a second time.
  """
  batch, heads, size, units = query_BxHxTxD.shape
  blocks = -(-size // _BLOCK)
  block = -(-size // blocks)
  spare = ((0, 0), (0, 0), (0, blocks * block - size), (0, 0))
  query_RxNxTxD = jnp.pad(query_BxHxTxD, spare)
  query_RxNxTxD = query_RxNxTxD.reshape(batch * heads, blocks, block, units)
  rows = [query_RxNxTxD, key_BxHxDxS, value_BxHxSxD]
  if mask_Bx1x1xS is not None:
    rows.append(jnp.repeat(mask_Bx1x1xS, heads, axis=1))
  rows[1:] = [x.reshape(-1, *x.shape[2:]) for x in rows[1:]]
  attend_block = jax.checkpoint(_attend, prevent_cse=False)

  def attend_head(row):
    query_NxTxD, key, value, *mask = row
    mask = mask[0] if mask else None
    return jax.lax.map(
      lambda query_TxD: attend_block(query_TxD, key, value, mask), query_NxTxD
    )

  output = jax.lax.map(attend_head, rows)
  return output.reshape(batch, heads, -1, units)[:, :, :size]


def _cudnn_takes(query: jax.Array) -> bool:
  """Its flash attention: half precision, heads of at most 128 units."""
  is_half = query.dtype in (jnp.bfloat16, jnp.float16)
  is_gpu = target.platform() == "gpu"
  return is_gpu and is_half and query.shape[-1] in range(8, 129, 8)


def _attend_by_cudnn(
  query_BxTxHxD, key_BxSxHxD, value_BxSxHxD, mask_BxS, bias_BxHxTxS
):
  """Flash attention, which writes no weights.

  It takes no mask, but lengths; and in training no lengths that are odd.
  """
  batch, size = query_BxTxHxD.shape[:2]
  keys = key_BxSxHxD.shape[1]
  if mask_BxS is None:
    lengths_B = jnp.full(batch, keys, jnp.int32)
  else:
    # Of a row without any key, of which nobody uses the result, the first.
    lengths_B = jnp.maximum(mask_BxS.sum(axis=1, dtype=jnp.int32), 1)
  if bias_BxHxTxS is not None:
    bias_BxHxTxS = _even(bias_BxHxTxS.astype(query_BxTxHxD.dtype), 2, 3)
  return jax.nn.dot_product_attention(
    *(_even(x, 1) for x in (query_BxTxHxD, key_BxSxHxD, value_BxSxHxD)),
    bias=bias_BxHxTxS,
    query_seq_lengths=jnp.full(batch, size, jnp.int32),
    key_value_seq_lengths=lengths_B,
    implementation="cudnn",
  )[:, :size]


def _even(x: jax.Array, *axes: int) -> jax.Array:
  """Zeros behind, up to a multiple of what tensor cores take at once."""
  spare = [(0, -size % 8 if n in axes else 0) for n, size in enumerate(x.shape)]
  return jnp.pad(x, spare)


@jax.custom_vjp
def segment_attention(query_AxBxTxD, key_AxBxTxD, value_AxBxTxD, segment_BxT):
  """softmax(Q K^T) V of A heads, each position within its own segment.

  Source: Lian et al. 2020, Eq. (4). A position of segment 0 (padding) attends
  to nothing and yields zero. The gradient is written out so that no array of
  T x T is passed over more often than it must be: the softmax is normalised
  after the product with V, and its gradient needs only the row sums of
  output x gradient (Dao et al. 2022, "FlashAttention", Appendix B).
  All is float32, but for int32 segments.
  """
  operands = query_AxBxTxD, key_AxBxTxD, value_AxBxTxD, segment_BxT
  return _attention_forward(*operands)[0]


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


def segment_weights(query_AxBxTxD, key_AxBxTxD, segment_BxT):
  """The softmax of `segment_attention`, [A, B, T, T], to look at."""
  nothing = jnp.zeros_like(key_AxBxTxD)
  operands = query_AxBxTxD, key_AxBxTxD, nothing, segment_BxT
  _, (*_, weights, total, _) = _attention_forward(*operands)
  return weights / total


segment_attention.defvjp(_attention_forward, _attention_backward)
