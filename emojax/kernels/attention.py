"""Attention: within the segments of packed rows, and as the encoders have it.

A or H heads of D units, B rows or sequences of T queries and S keys.
"""

import jax
import jax.numpy as jnp

# Far below any score, and yet a number: a row without a single valid key gives
# the mean of the values, not NaN.
_EXCLUDED = -1e30


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

  Queries come unscaled; the mask is true where a key may be attended to; the
  bias is added to the scaled scores; without `dropout_key` no weight is
  dropped. The result is [B, T, H, D] in the type of the query, softmax float32.
  """
  drops = dropout_key is not None and dropout_rate > 0
  mask = None if mask_BxS is None else mask_BxS[:, None, None, :]
  if not drops and _cudnn_takes(query_BxTxHxD):
    return jax.nn.dot_product_attention(
      query_BxTxHxD,
      key_BxSxHxD,
      value_BxSxHxD,
      bias=bias_BxHxTxS,
      mask=mask,
      implementation="cudnn",
    )
  dtype = query_BxTxHxD.dtype
  # Products of one head each over contiguous memory: on a CPU 2.4 times as fast
  # as an einsum of the layout above. The softmax is normalised after the
  # product with the values, which are fewer.
  query = query_BxTxHxD.transpose(0, 2, 1, 3) * query_BxTxHxD.shape[-1] ** -0.5
  key = key_BxSxHxD.transpose(0, 2, 3, 1)
  value = value_BxSxHxD.transpose(0, 2, 1, 3)
  scores = jnp.matmul(query, key, preferred_element_type=jnp.float32)
  if bias_BxHxTxS is not None:
    scores += bias_BxHxTxS
  if mask is not None:
    scores = jnp.where(mask, scores, _EXCLUDED)
  highest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
  weights = jnp.exp(scores - highest)
  total = weights.sum(axis=-1, keepdims=True)
  if drops:
    kept = jax.random.bernoulli(dropout_key, 1 - dropout_rate, weights.shape)
    weights = jnp.where(kept, weights / (1 - dropout_rate), 0)
  output = jnp.matmul(
    weights.astype(dtype), value, preferred_element_type=jnp.float32
  )
  return (output / total).astype(dtype).transpose(0, 2, 1, 3)


def _cudnn_takes(query: jax.Array) -> bool:
  """Its flash attention: half precision, heads of at most 128 units."""
  is_half = query.dtype in (jnp.bfloat16, jnp.float16)
  is_gpu = jax.default_backend() == "gpu"
  return is_gpu and is_half and query.shape[-1] in range(8, 129, 8)


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


segment_attention.defvjp(_attention_forward, _attention_backward)
