"""JAX's operations in those of ONNX.

`lower` writes a traced function (a jaxpr) into a graph, operation by operation.
jax2onnx 0.17.1 would do it, but it takes no array whose length is not known,
failed on these systems with a known one, too, and needs an Orbax from before
0.12.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from onnx import helper

from emojax.exporting import onnx_shapes as shapes
from emojax.exporting import onnx_sums as sums
from emojax.exporting.onnx_graph import Graph
from emojax.exporting.onnx_step import Step, Value, type_of, unsupported


def lower(
  graph: Graph, jaxpr: Jaxpr, consts: Sequence[Any], inputs: Sequence[Value]
) -> list[Value]:
  """Writes a function into a graph, and gives its results.

  Raises:
    UserError: an operation that is not among `RULES`.
  """
  found = {
    var: Value(graph.constant(const))
    for var, const in zip(jaxpr.constvars, consts, strict=True)
  }
  found.update(zip(jaxpr.invars, inputs, strict=True))

  def read(atom):
    if isinstance(atom, Literal):
      return Value(graph.constant(atom.val, atom.aval.dtype))
    return found[atom]

  for eqn in _needed(jaxpr):
    step = Step(graph, eqn, [read(atom) for atom in eqn.invars])
    name = eqn.primitive.name
    if name not in RULES:
      raise unsupported(name)
    results = RULES[name](step)
    if not isinstance(results, list):
      results = [results]
    found.update(zip(eqn.outvars, results, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _needed(jaxpr):
  """The operations that results depend on."""
  wanted = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
  needed = []
  for eqn in reversed(jaxpr.eqns):
    if wanted.intersection(eqn.outvars):
      needed.append(eqn)
      wanted.update(x for x in eqn.invars if not isinstance(x, Literal))
  return reversed(needed)


def _elementwise(write: Callable[..., str]) -> Callable[[Step], Value]:
  """The rule of an operation on the elements at one place."""

  def rule(step):
    name = write(step, *(value.name for value in step.values))
    full = [
      value.whole
      for index, value in enumerate(step.values)
      if len(step.shape(index)) == len(step.output.shape)
    ]
    return Value(name, any(full))

  return rule


def _simply(op: str, **attributes: Any) -> Callable[[Step], Value]:
  return _elementwise(lambda step, *x: step.add(op, *x, **attributes))


def _same(step):
  return step.values[0] if len(step.values) == 1 else step.values


def _integer_pow(step, x):
  if step.params["y"] == 2:
    return step.add("Mul", x, x)
  return step.add("Pow", x, step.like(step.params["y"]))


def _convert(step, x):
  return step.add("Cast", x, to=type_of(step.output.dtype))


def _is_finite(step, x):
  broken = step.add("Or", step.add("IsNaN", x), step.add("IsInf", x))
  return step.add("Not", broken)


def _select(step, which, *cases):
  if len(cases) != 2:
    raise unsupported("a choice among more than two")
  return step.add("Where", which, cases[1], cases[0])


def _call(step):
  """A function within the function."""
  kinds = ClosedJaxpr | Jaxpr
  inner = next(x for x in step.params.values() if isinstance(x, kinds))
  jaxpr, consts = inner, ()
  if isinstance(inner, ClosedJaxpr):
    jaxpr, consts = inner.jaxpr, inner.consts
  return lower(step.graph, jaxpr, consts, step.values)


def _scan(step):
  """A loop over the first axis of arrays, its body a graph of its own."""
  closed, graph = step.params["jaxpr"], Graph(step.graph)
  num_consts, num_carry = step.params["num_consts"], step.params["num_carry"]
  inner = closed.jaxpr.invars[num_consts:]
  names = [graph.new_name() for _ in inner]
  values = step.values[:num_consts] + [Value(name) for name in names]
  results = lower(graph, closed.jaxpr, closed.consts, values)
  outputs = []
  for atom, value in zip(closed.jaxpr.outvars, results, strict=True):
    shape = graph.shape(atom.aval.shape)
    outputs.append(graph.add("Expand", value.name, shape))

  def described(names, atoms):
    return [
      helper.make_tensor_value_info(name, type_of(atom.aval.dtype), None)
      for name, atom in zip(names, atoms, strict=True)
    ]

  body = helper.make_graph(
    graph.nodes,
    "body",
    described(names, inner),
    described(outputs, closed.jaxpr.outvars),
  )
  backwards = int(step.params["reverse"])
  num_scanned = len(inner) - num_carry
  inputs = [step.whole(i) for i in range(num_consts, len(step.values))]
  found = step.graph.add_many(
    "Scan",
    inputs,
    len(outputs),
    body=body,
    num_scan_inputs=num_scanned,
    scan_input_directions=[backwards] * num_scanned,
    scan_output_directions=[backwards] * (len(outputs) - num_carry),
  )
  return [Value(name) for name in found]


_SAME_NAMES = (
  "abs add sub mul div max min pow exp log neg sqrt sign floor ceil sin cos "
  "tanh erf not and or xor"
)
_OTHER_NAMES = {
  "add_any": "Add",
  "eq": "Equal",
  "ge": "GreaterOrEqual",
  "gt": "Greater",
  "le": "LessOrEqual",
  "logistic": "Sigmoid",
  "lt": "Less",
}
_COPIES = "copy copy_p optimization_barrier stop_gradient"
_CALLS = (
  "jit pjit closed_call checkpoint remat2 custom_jvp_call custom_vjp_call "
  "custom_vmap_call"
)

RULES: dict[str, Callable[[Step], Any]] = {
  **{name: _simply(name.capitalize()) for name in _SAME_NAMES.split()},
  **{name: _simply(op) for name, op in _OTHER_NAMES.items()},
  **dict.fromkeys(_COPIES.split(), _same),
  **dict.fromkeys(_CALLS.split(), _call),
  "rem": _simply("Mod", fmod=1),
  "ne": _elementwise(lambda step, *x: step.add("Not", step.add("Equal", *x))),
  "square": _elementwise(lambda step, x: step.add("Mul", x, x)),
  "rsqrt": _elementwise(
    lambda step, x: step.add("Reciprocal", step.add("Sqrt", x))
  ),
  "erfc": _elementwise(
    lambda step, x: step.add("Sub", step.like(1), step.add("Erf", x))
  ),
  "log1p": _elementwise(
    lambda step, x: step.add("Log", step.add("Add", x, step.like(1)))
  ),
  "integer_pow": _elementwise(_integer_pow),
  "is_finite": _elementwise(_is_finite),
  "convert_element_type": _elementwise(_convert),
  "select_n": _elementwise(_select),
  "clamp": _elementwise(
    lambda step, low, x, high: step.add("Max", low, step.add("Min", x, high))
  ),
  "broadcast_in_dim": shapes.broadcast,
  "iota": shapes.iota,
  "dim_as_value": shapes.size,
  "reshape": shapes.reshape,
  "transpose": shapes.transpose,
  "squeeze": shapes.squeeze,
  "concatenate": shapes.concatenate,
  "stack": shapes.stack,
  "unstack": shapes.unstack,
  "split": shapes.split,
  "slice": shapes.slice,
  "dynamic_slice": shapes.dynamic_slice,
  "rev": shapes.reverse,
  "pad": shapes.pad,
  "reduce_sum": sums.reduce_sum,
  "reduce_max": sums.reduce("ReduceMax"),
  "reduce_min": sums.reduce("ReduceMin"),
  "reduce_or": sums.reduce_bool("ReduceMax"),
  "reduce_and": sums.reduce_bool("ReduceMin"),
  "argmax": sums.argmax,
  "cumsum": sums.cumsum,
  "dot_general": sums.dot_general,
  "conv_general_dilated": sums.convolution,
  "fft": sums.fft,
  "real": lambda step: Value(step.values[0].name[0]),
  "imag": lambda step: Value(step.values[0].name[1]),
  "gather": shapes.gather,
  "scatter": shapes.scatter,
  "scan": _scan,
}
