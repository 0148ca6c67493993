"""Operations that move elements, and compute nothing."""

import numpy as np
from jax.lax import GatherScatterMode

from emojax.exporting.onnx_step import Value, type_of, unsupported


def broadcast(step):
  """Adds axes of size one; they are repeated where that matters."""
  kept = step.params["broadcast_dimensions"]
  value, rank = step.values[0], len(step.output.shape)
  added = [axis for axis in range(rank) if axis not in kept]
  name = value.name
  if added:
    name = step.add("Unsqueeze", name, step.ints(*added))
  old = [1] * rank
  for axis, size in zip(kept, step.shape(), strict=True):
    old[axis] = size
  # Two dimensions that are not known are the same only if they say so.
  same = all(
    str(a) == str(b) for a, b in zip(old, step.output.shape, strict=True)
  )
  return Value(name, value.whole and same)


def iota(step):
  """Numbers along one axis, from 0."""
  axis, shape = step.params["dimension"], step.params["shape"]
  count = step.graph.dim(shape[axis])
  zero, one = (step.graph.constant(x, np.int64) for x in (0, 1))
  name = step.add("Range", zero, step.add("Squeeze", count), one)
  name = step.add("Cast", name, to=type_of(step.params["dtype"]))
  added = [other for other in range(len(shape)) if other != axis]
  if added:
    name = step.add("Unsqueeze", name, step.ints(*added))
  return Value(name, whole=len(shape) == 1)


def size(step):
  """A dimension as a number."""
  name = step.add("Squeeze", step.graph.dim(step.params["dim"]))
  return Value(step.add("Cast", name, to=type_of(step.output.dtype)))


def reshape(step):
  """The same elements in another shape, of which one size may be open."""
  sizes = list(step.params["new_sizes"])
  unknown = [i for i, size in enumerate(sizes) if not isinstance(size, int)]
  if len(unknown) == 1:
    sizes[unknown[0]] = -1
  return Value(step.add("Reshape", step.whole(), step.ints(*sizes)))


def transpose(step):
  """Axes in another order."""
  permutation = step.params["permutation"]
  return Value(step.add("Transpose", step.whole(), perm=permutation))


def squeeze(step):
  """Leaves out axes of size one."""
  axes = step.ints(*step.params["dimensions"])
  return Value(step.add("Squeeze", step.whole(), axes))


def concatenate(step):
  """Arrays one after another along an axis."""
  names = [step.whole(index) for index in range(len(step.values))]
  return Value(step.add("Concat", *names, axis=step.params["dimension"]))


def stack(step):
  """Arrays one after another along a new axis."""
  axes = step.ints(step.params["axis"])
  names = [
    step.add("Unsqueeze", step.whole(index), axes)
    for index in range(len(step.values))
  ]
  return Value(step.add("Concat", *names, axis=step.params["axis"]))


def unstack(step):
  """Undoes `stack`."""
  axis, count = step.params["axis"], len(step.eqn.outvars)
  sizes = step.ints(*[1] * count)
  names = step.graph.add_many("Split", [step.whole(), sizes], count, axis=axis)
  return [Value(step.add("Squeeze", name, step.ints(axis))) for name in names]


def split(step):
  """Cuts an array along an axis."""
  sizes = step.ints(*step.params["sizes"])
  found = step.graph.add_many(
    "Split",
    [step.whole(), sizes],
    len(step.eqn.outvars),
    axis=step.params["axis"],
  )
  return [Value(name) for name in found]


def slice(step):
  """A part of an array, from places that are known."""
  start, limit = step.params["start_indices"], step.params["limit_indices"]
  strides = step.params["strides"] or (1,) * len(start)
  ranges = (step.ints(*x) for x in (start, limit, range(len(start)), strides))
  return Value(step.add("Slice", step.whole(), *ranges))


def reverse(step):
  """Turns axes around."""
  axes = step.params["dimensions"]
  count = len(axes)
  # From the last one (-1) to before the first one: far beyond it.
  ranges = [-1] * count, [-(2**31)] * count, axes, [-1] * count
  return Value(
    step.add("Slice", step.whole(), *(step.ints(*x) for x in ranges))
  )


def pad(step):
  """Puts a value around an array."""
  before, after, between = zip(*step.params["padding_config"], strict=True)
  if any(between):
    raise unsupported("padding between elements")
  widths = step.ints(*before, *after)
  return Value(step.add("Pad", step.whole(), widths, step.whole(1)))


def gather(step):
  """Rows by their numbers, or one block of an array."""
  numbers, axes = step.params["dimension_numbers"], range(len(step.shape()))
  sizes, mode = step.params["slice_sizes"], step.params["mode"]
  if len(step.shape(1)) == 1 and not numbers.operand_batching_dims:
    starts = step.add("Cast", step.whole(1), to=type_of(np.int64))
    return _block(step, starts, numbers.start_index_map, sizes, mode)
  taken = [n for n in axes if str(sizes[n]) != str(step.shape()[n])]
  taken = taken or list(numbers.start_index_map)
  if not (
    [*numbers.start_index_map] == [*numbers.collapsed_slice_dims] == taken
  ):
    raise unsupported("a gather of blocks")
  return _take(step, taken[0], numbers.offset_dims, mode)


def _block(step, starts, axes, sizes, mode):
  """A block of an array, from a place that may be known only by then."""
  ends = step.ints(*(sizes[axis] for axis in axes))
  if mode == GatherScatterMode.CLIP:
    shape = step.ints(*(step.shape()[axis] for axis in axes))
    starts = step.add("Min", starts, step.add("Sub", shape, ends))
    starts = step.add("Max", starts, step.graph.constant(0, np.int64))
  elif mode != GatherScatterMode.PROMISE_IN_BOUNDS:
    raise unsupported("a block that may lie outside")
  ends = step.add("Add", starts, ends)
  name = step.add("Slice", step.whole(), starts, ends, step.ints(*axes))
  numbers = step.params["dimension_numbers"]
  if numbers.collapsed_slice_dims:
    name = step.add("Squeeze", name, step.ints(*numbers.collapsed_slice_dims))
  return Value(name)


def _take(step, axis, offsets, mode):
  """Rows (or what lies along another axis) by their numbers."""
  rank, rank_of_index = len(step.shape()), len(step.shape(1)) - 1
  index = step.add("Squeeze", step.whole(1), step.ints(rank_of_index))
  index = step.add("Cast", index, to=type_of(np.int64))
  zero = step.graph.constant(0, np.int64)
  last = step.add("Sub", step.ints(step.shape()[axis]), step.ints(1))
  inside = step.add("Max", step.add("Min", index, last), zero)
  name = step.add("Gather", step.whole(), inside, axis=axis)
  if mode == GatherScatterMode.FILL_OR_DROP:
    exists = step.add("Equal", index, inside)
    behind = range(rank_of_index, rank_of_index + rank - axis - 1)
    if behind:
      exists = step.add("Unsqueeze", exists, step.ints(*behind))
    fill = step.params["fill_value"]
    if fill is None:
      is_float = np.issubdtype(step.output.dtype, np.floating)
      fill = np.nan if is_float else np.iinfo(step.output.dtype).min
    name = step.add("Where", exists, name, step.like(fill))
  # ONNX puts the axes of the index in the place of the one that it is of.
  found = [*range(axis), *range(axis + rank_of_index, rank + rank_of_index - 1)]
  order = dict(zip(offsets, found, strict=True))
  rest = iter(range(axis, axis + rank_of_index))
  order = [
    order[n] if n in order else next(rest)
    for n in range(len(step.output.shape))
  ]
  if order != sorted(order):
    name = step.add("Transpose", name, perm=order)
  return Value(name)


def scatter(step):
  """Numbers into the places of a vector; those outside of it are dropped."""
  numbers = step.params["dimension_numbers"]
  if len(step.shape()) != 1 or numbers.update_window_dims:
    raise unsupported("a scatter into more than a vector")
  if step.params["mode"] != GatherScatterMode.FILL_OR_DROP:
    raise unsupported("a scatter that has to know its places")
  size = step.ints(*step.shape())
  index = step.add("Squeeze", step.whole(1), step.ints(1))
  index = step.add("Cast", index, to=type_of(np.int64))
  below = step.add("Less", index, step.graph.constant(0, np.int64))
  index = step.add("Where", below, size, step.add("Min", index, size))
  # One place more takes all that is outside.
  longer = step.add("Concat", step.whole(), step.like([0]), axis=0)
  longer = step.add("ScatterElements", longer, index, step.whole(2), axis=0)
  return Value(step.add("Slice", longer, step.ints(0), size))


def dynamic_slice(step):
  """A part of an array, from a place that is computed; within it."""
  starts = [
    step.add("Cast", step.whole(index), to=type_of(np.int64))
    for index in range(1, len(step.values))
  ]
  starts = [step.add("Unsqueeze", start, step.ints(0)) for start in starts]
  axes, sizes = range(len(starts)), step.params["slice_sizes"]
  shape = step.ints(*step.shape())
  latest = step.add("Sub", shape, step.ints(*sizes))
  starts = step.add("Min", step.add("Concat", *starts, axis=0), latest)
  starts = step.add("Max", starts, step.graph.constant(0, np.int64))
  ends = step.add("Add", starts, step.ints(*sizes))
  return Value(step.add("Slice", step.whole(), starts, ends, step.ints(*axes)))
