"""One operation of a traced function, while it is written in ONNX."""

from typing import Any, NamedTuple

import jax
import numpy as np
from onnx import helper

from emojax.errors import UserError
from emojax.exporting.onnx_graph import Graph


class Value(NamedTuple):
  """What stands for an array.

  Attributes:
    name: in the graph; of complex numbers those of the two parts.
    whole: false if axes of size one stand for what they are broadcast to, as
      operations on single elements take them.
  """

  name: Any
  whole: bool = True


class Step(NamedTuple):
  """One operation: where it is written to, what it is, what it reads."""

  graph: Graph
  eqn: Any
  values: list[Value]

  @property
  def params(self) -> dict[str, Any]:
    return self.eqn.params

  @property
  def output(self) -> jax.core.AbstractValue:
    """Shape and type of the first result."""
    return self.eqn.outvars[0].aval

  def shape(self, index: int = 0) -> tuple:
    """Of an input."""
    return self.eqn.invars[index].aval.shape

  def whole(self, index: int = 0) -> str:
    """The name of an input in its full size."""
    value = self.values[index]
    if value.whole:
      return value.name
    shape = self.graph.shape(self.shape(index))
    return self.graph.add("Expand", value.name, shape)

  def add(self, op: str, *inputs: str, **attributes: Any) -> str:
    return self.graph.add(op, *inputs, **attributes)

  def ints(self, *values: Any) -> str:
    """int64 [R]; some may be known only when the program runs."""
    return self.graph.shape(values)

  def like(self, value: Any) -> str:
    """A number of the first input's type."""
    return self.graph.constant(value, self.eqn.invars[0].aval.dtype)


def unsupported(what: str) -> UserError:
  """The error of what has no rule."""
  return UserError(
    f"--format=onnx: this system computes {what}, which is not written in ONNX "
    "here; take --format=stablehlo"
  )


def type_of(dtype) -> int:
  """ONNX's number of a type."""
  return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
