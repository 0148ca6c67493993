"""Rows of an array by their numbers, without a scatter on the way back.

N rows of D values, M places that read them, R runs.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gather_rows(x_NxD, source, target):
  """Rows `x[source]`, zero where `source` is N; a gather on the way back too.

  XLA turns the gradient of an ordinary gather into a scatter, which is slow on
  a CPU and not deterministic on a GPU. Here every row is used at most once, so
  the gradient is the gather by the inverse index.

  Args:
    source: int32 [M], row numbers in [0, N]; no number below N twice.
    target: int32 [N], the place of each row in `source`; M: not used.
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
  row_RxM = first_R[:, None] + index_RxM
  row_RxM = jnp.where(index_RxM < num_rows, row_RxM, axis_size * num_rows)
  taken = _take_rows(x_RxNxD.reshape(-1, width), row_RxM.reshape(-1))
  return taken.reshape(axis_size, -1, width), True


gather_rows.defvjp(
  lambda x_NxD, source, target: (_take_rows(x_NxD, source), target),
  lambda target, grad_MxD: (_take_rows(grad_MxD, target), None, None),
)
