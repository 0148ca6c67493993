"""Products of rows with a kernel, in the form that is fastest on a CPU.

N rows of D values, K features, R runs.
"""

import jax
import jax.numpy as jnp

from emojax.kernels import target

_MANY_ROWS = 1000


def product(x, kernel, dimension_numbers, precision, **_):
  """What `nn.Dense` asks for: the last axis of x with the first of the kernel.

  On a CPU with many rows as a convolution of width one. XLA brings it back to a
  product, but one that Eigen computes, in 0.87 of the time of what it takes for
  a product. With few rows, such as those of one clip of 4 s, it is the slower
  one: 45 to 60 against 65 to 85 GFLOP/s on one core of an AMD EPYC.
  """
  if not _is_cpus(x):
    return jax.lax.dot_general(
      x, kernel, dimension_numbers, precision=precision
    )
  rows = x.reshape(-1, x.shape[-1])
  return _rows_by_kernel(rows, kernel).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def feature_major(kernel_KxD, x_NxD):
  """W X^T, [K, N], for kernels of many runs on the same rows.

  On a CPU as a convolution of width one, there and back, where the kernels of
  all runs have many rows together: with 20 runs of 100 features on 6,373 +
  1,024 values a training step of DANN takes 0.93 of the time. Of one run alone
  it is the slower form, as X has to be laid out the other way.
  """
  return _rows_of_runs(kernel_KxD, x_NxD.T)


def _feature_major_backward(saved, gradient_KxN):
  kernel_KxD, x_NxD = saved
  of_kernel = _rows_of_runs(gradient_KxN, x_NxD)
  return of_kernel, (kernel_KxD.T @ gradient_KxN).T


feature_major.defvjp(
  lambda *operands: (feature_major(*operands), operands),
  _feature_major_backward,
)


@jax.custom_batching.custom_vmap
def _rows_of_runs(rows_KxA, matrix_AxB):
  return jnp.matmul(rows_KxA, matrix_AxB)


@_rows_of_runs.def_vmap
def _rows_of_all_runs(axis_size, in_batched, rows, matrix):
  if in_batched != [True, False] or not _is_cpus(rows):
    axes = [0 if batched else None for batched in in_batched]
    return jax.vmap(jnp.matmul, axes)(rows, matrix), True
  product = _rows_by_kernel(rows.reshape(-1, rows.shape[-1]), matrix)
  return product.reshape(axis_size, -1, matrix.shape[-1]), True


def _is_cpus(x) -> bool:
  return target.platform() == "cpu" and x.dtype == jnp.float32


@jax.custom_vjp
def _rows_by_kernel(x_NxK, kernel_KxM):
  if len(x_NxK) < _MANY_ROWS:
    return jnp.matmul(x_NxK, kernel_KxM)
  return jax.lax.conv_general_dilated(
    x_NxK[None],
    kernel_KxM[None],
    (1,),
    "VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
  )[0]


def _backward(saved, gradient_NxM):
  # Here XLA's own products are the faster ones, as they need no transposes;
  # the barrier keeps it from making them a part of slower fusions.
  x_NxK, kernel_KxM = saved
  x_NxK, gradient_NxM = jax.lax.optimization_barrier((x_NxK, gradient_NxM))
  return jax.lax.optimization_barrier(
    (
      jax.lax.dot_general(gradient_NxM, kernel_KxM, (((1,), (1,)), ((), ()))),
      jax.lax.dot_general(x_NxK, gradient_NxM, (((0,), (0,)), ((), ()))),
    )
  )


_rows_by_kernel.defvjp(
  lambda *operands: (_rows_by_kernel(*operands), operands), _backward
)
