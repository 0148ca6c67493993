"""An ONNX graph while it is written: nodes, constants, shapes.

Values go by their names. A shape may have dimensions that are known when the
program runs, such as `320*floordiv(samples, 320) + 640`: these are computed
from the shapes of the inputs.
"""

import ast
import collections
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from emojax.errors import UserError

OPSET = 18  # Of 2022: runtimes of browsers and phones have it.


class Graph:
  """A graph, or the body of a loop in another one (`outer`).

  Attributes:
    nodes: in the order in which they run.
  """

  def __init__(self, outer: "Graph | None" = None):
    self.nodes: list[onnx.NodeProto] = []
    self._outer = outer
    self._numbers = outer._numbers if outer else itertools.count()
    self._constants: dict[str, np.ndarray] = outer._constants if outer else {}
    self._found: dict[Any, str] = outer._found if outer else {}
    dims = outer._dims.new_child() if outer else collections.ChainMap()
    self._dims: collections.ChainMap[str, str] = dims

  def add(self, op: str, *inputs: str, **attributes: Any) -> str:
    """Adds a node with one output, and gives its name."""
    (output,) = self.add_many(op, inputs, 1, **attributes)
    return output

  def add_many(
    self, op: str, inputs: Iterable[str], count: int, **attributes: Any
  ) -> list[str]:
    """Adds a node with so many outputs."""
    outputs = [self.new_name() for _ in range(count)]
    node = helper.make_node(op, list(inputs), outputs, **attributes)
    self.nodes.append(node)
    return outputs

  def new_name(self) -> str:
    return f"v{next(self._numbers)}"

  def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
    """An array; equal ones without a name are kept once."""
    array = np.asarray(value, dtype)
    if name:
      self._constants[name] = array
      return name
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in self._found:
      self._found[key] = self.constant(array, name=f"c{len(self._found)}")
    return self._found[key]

  def read_dims(self, name: str, dims: Iterable[Any]) -> None:
    """Takes the symbols among the dimensions of an input from its shape."""
    for axis, dim in enumerate(dims):
      if not isinstance(dim, int) and str(dim) not in self._dims:
        shape = self.add("Shape", name, start=axis, end=axis + 1)
        self._dims[str(dim)] = shape

  def shape(self, dims: Iterable[Any]) -> str:
    """int64 [R] of dimensions, known or not."""
    dims = list(dims)
    if all(isinstance(dim, int | np.integer) for dim in dims):
      return self.constant(dims, np.int64)
    return self.add("Concat", *map(self.dim, dims), axis=0)

  def dim(self, dim: Any) -> str:
    """int64 [1] of a dimension."""
    if isinstance(dim, int | np.integer):
      return self.constant([dim], np.int64)
    text = str(dim)
    if text not in self._dims:
      tree = ast.parse(text.replace("^", "**"), mode="eval").body
      self._dims[text] = self._evaluate(tree)
    return self._dims[text]

  def _evaluate(self, tree: ast.expr) -> str:
    """The expressions that `jax.export.symbolic_shape` reads and writes."""
    match tree:
      case ast.Constant(value=int() as value):
        return self.dim(value)
      case ast.Name(id=name):
        return self._dims[name]
      case ast.UnaryOp(op=ast.USub(), operand=operand):
        return self.add("Neg", self._evaluate(operand))
      case ast.BinOp(left=left, op=op, right=right):
        names = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
        name = {**names, ast.Pow: "Pow"}[type(op)]
        return self.add(name, self._evaluate(left), self._evaluate(right))
      case ast.Call(func=ast.Name(id="floordiv"), args=[left, right]):
        left, right = self._evaluate(left), self._evaluate(right)
        # ONNX rounds quotients towards zero.
        whole = self.add("Sub", left, self.add("Mod", left, right))
        return self.add("Div", whole, right)
      case ast.Call(func=ast.Name(id=("mod" | "max" | "min") as name)):
        inputs = map(self._evaluate, tree.args)
        return self.add(name.capitalize(), *inputs)
    raise UserError(
      f"--format=onnx: a length of {ast.unparse(tree)} is not written in ONNX "
      "here; take --format=stablehlo"
    )

  def model(
    self,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    name: str,
  ) -> onnx.ModelProto:
    """The whole program, without what no output needs."""
    nodes, wanted = [], {value.name for value in outputs}
    for node in reversed(self.nodes):
      if wanted.intersection(node.output):
        nodes.insert(0, node)
        wanted.update(_read_by(node))
    constants = [
      numpy_helper.from_array(array, name)
      for name, array in self._constants.items()
      if name in wanted
    ]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(
      graph, opset_imports=[opset], ir_version=8, producer_name="emojax"
    )


def _read_by(node: onnx.NodeProto) -> set[str]:
  """Names that a node reads, also within its body."""
  names = set(node.input)
  for attribute in node.attribute:
    if attribute.HasField("g"):
      names |= {value.name for value in attribute.g.output}
      for inner in attribute.g.node:
        names |= _read_by(inner)
  return names
