"""Operations with sums: reductions, products, convolutions, spectra."""

from collections.abc import Callable

import numpy as np

from emojax.exporting.onnx_step import Step, Value, type_of, unsupported


def reduce_sum(step):
  """A sum, in float64 where its length is not known: it may be seconds.

  ONNX Runtime adds up float32 one after another: of 48,000 samples the variance
  was wrong by 5e-6.
  """
  name, dtype = step.whole(), step.output.dtype
  axes = step.params["axes"]
  known = all(isinstance(step.shape()[axis], int) for axis in axes)
  if known or dtype != np.float32:
    return Value(step.add("ReduceSum", name, step.ints(*axes), keepdims=0))
  name = step.add("Cast", name, to=type_of(np.float64))
  name = step.add("ReduceSum", name, step.ints(*axes), keepdims=0)
  return Value(step.add("Cast", name, to=type_of(dtype)))


def reduce(op: str) -> Callable[[Step], Value]:
  """The largest or the smallest along axes."""

  def rule(step):
    axes = step.ints(*step.params["axes"])
    return Value(step.add(op, step.whole(), axes, keepdims=0))

  return rule


def reduce_bool(op: str) -> Callable[[Step], Value]:
  """Whether any or all are true: ONNX takes the maximum of numbers only."""

  def rule(step):
    number = step.add("Cast", step.whole(), to=type_of(np.int32))
    axes = step.ints(*step.params["axes"])
    number = step.add(op, number, axes, keepdims=0)
    return Value(step.add("Cast", number, to=type_of(np.bool_)))

  return rule


def argmax(step):
  """The place of the largest."""
  (axis,) = step.params["axes"]
  name = step.add("ArgMax", step.whole(), axis=axis, keepdims=0)
  name = step.add("Cast", name, to=type_of(step.params["index_dtype"]))
  return Value(name)


def cumsum(step):
  """Sums of all elements so far."""
  axis = step.graph.constant(step.params["axis"], np.int64)
  backwards = int(step.params["reverse"])
  return Value(step.add("CumSum", step.whole(), axis, reverse=backwards))


def dot_general(step):
  """A product of matrices, or of arrays as `Einsum` has it."""
  (left_sum, right_sum), (left_batch, right_batch) = step.params[
    "dimension_numbers"
  ]
  left_rank, right_rank = len(step.shape(0)), len(step.shape(1))
  batch = tuple(range(right_rank - 2))
  matrices = right_rank == 2 or left_rank == right_rank
  if (
    matrices
    and (tuple(left_sum), tuple(right_sum)) == ((left_rank - 1,), (len(batch),))
    and tuple(left_batch) == tuple(right_batch) == batch
  ):
    return Value(step.add("MatMul", step.whole(0), step.whole(1)))
  letters = iter("abcdefghijklmnopqrstuvwxyz")
  left = [next(letters) for _ in range(left_rank)]
  right = [next(letters) for _ in range(right_rank)]
  for ours, theirs in zip(
    (*left_sum, *left_batch), (*right_sum, *right_batch), strict=True
  ):
    right[theirs] = left[ours]
  result = [left[axis] for axis in left_batch]
  for own, used in (
    (left, {*left_sum, *left_batch}),
    (right, {*right_sum, *right_batch}),
  ):
    result += [x for axis, x in enumerate(own) if axis not in used]
  equation = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
  inputs = step.whole(0), step.whole(1)
  return Value(step.add("Einsum", *inputs, equation=equation))


def convolution(step):
  """A convolution, in whatever order its axes are."""
  params, numbers = step.params, step.params["dimension_numbers"]
  if params["batch_group_count"] != 1 or set(params["lhs_dilation"]) != {1}:
    raise unsupported("a transposed convolution")
  before, after = zip(*params["padding"], strict=True)
  name = step.add(
    "Conv",
    step.add("Transpose", step.whole(0), perm=numbers.lhs_spec),
    step.add("Transpose", step.whole(1), perm=numbers.rhs_spec),
    strides=params["window_strides"],
    pads=before + after,
    dilations=params["rhs_dilation"],
    group=params["feature_group_count"],
  )
  back = np.argsort(numbers.out_spec).tolist()
  return Value(step.add("Transpose", name, perm=back))


def fft(step):
  """The spectrum of real numbers, as two products with a matrix."""
  if int(step.params["fft_type"]) != 2 or len(step.params["fft_lengths"]) > 1:
    raise unsupported("a Fourier transform of other than real numbers")
  (size,) = step.params["fft_lengths"]
  turns = np.outer(np.arange(size), np.arange(size // 2 + 1)) % size
  angle = -2 * np.pi * turns / size
  parts = (
    step.add("MatMul", step.whole(), step.graph.constant(part, np.float32))
    for part in (np.cos(angle), np.sin(angle))
  )
  return Value(tuple(parts))
