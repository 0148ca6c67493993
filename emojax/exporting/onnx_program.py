"""A system as an ONNX model, for runtimes that are not JAX."""

import pathlib

import jax
import numpy as np
import onnx
from onnx import helper

from emojax.exporting.onnx_graph import Graph
from emojax.exporting.onnx_lowerings import Value, lower
from emojax.exporting.signatures import Array, Signature
from emojax.kernels import target

_LARGEST = 2**31 - 2**20  # A protocol buffer holds no more bytes.


def write(folder: pathlib.Path, signature: Signature) -> None:
  """Writes `model.onnx`, its weights within it, or beside it above 2 GB.

  Batch size and length stay open.

  Raises:
    UserError: the system computes something that is not written in ONNX here.
  """
  weights = signature.weights
  with target.portable():
    traced = jax.make_jaxpr(signature.function)(
      weights, *signature.symbolic_inputs()
    )
  graph = Graph()
  names = sorted(weights)  # The order of arguments in a traced dict.
  values = [Value(graph.constant(weights[n], name=n)) for n in names]
  for name, array in zip(
    signature.inputs, traced.in_avals[len(names) :], strict=True
  ):
    graph.read_dims(name, array.shape)
    values.append(Value(name))
  results = lower(graph, traced.jaxpr, traced.consts, values)
  for name, result, aval in zip(
    signature.outputs, results, traced.out_avals, strict=True
  ):
    shape = graph.shape(aval.shape)
    graph.nodes.append(helper.make_node("Expand", [result.name, shape], [name]))
  model = graph.model(
    _described(signature.inputs), _described(signature.outputs), "emojax"
  )
  size = sum(np.asarray(array).nbytes for array in weights.values())
  onnx.save_model(
    model,
    str(folder / "model.onnx"),
    save_as_external_data=size > _LARGEST,
    location="model.onnx.data",
  )


def _described(arrays: dict[str, Array]) -> list[onnx.ValueInfoProto]:
  return [
    helper.make_tensor_value_info(
      name, helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype)), array.dims
    )
    for name, array in arrays.items()
  ]
