"""Operations in ONNX, against JAX, with sizes that are not known before."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from emojax.errors import UserError
from emojax.exporting import onnx_program
from emojax.exporting.signatures import Array, Signature

W = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def scanned(x):
  """A loop with a state, from the end, over what is as long as it is."""

  def step(state, row):
    state = jnp.tanh(state + row @ W[:5].T[:, :5])
    return state, (state, row.sum())

  last, (states, sums) = jax.lax.scan(step, jnp.ones(5), x[0], reverse=True)
  return last + states.sum(0) + sums.sum()


# Of float32 [batch, size, 5], by what they show.
FUNCTIONS = {
  "elements": lambda x: (
    jnp.exp(-abs(x)) * jnp.sign(x) + jnp.floor(x) / jnp.sqrt(x**2 + 1) - x**3
  ),
  "errors": lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.sigmoid(x),
  "logs": lambda x: jnp.log1p(x * x) + jax.lax.erf(x) + jnp.log(x * x + 1),
  "choices": lambda x: jnp.where((x > 0) & ~(x >= 1) | (x < -1), x, jnp.inf),
  "finite": lambda x: jnp.where(jnp.isfinite(1 / jnp.maximum(x, 0)), x, 7.0),
  "numbers": lambda x: (x * 9).astype(jnp.int32) // 2 + jnp.int32(7) % 4,
  "remainders": lambda x: jnp.fmod(x, 0.3) + jnp.clip(x, -0.5, 0.5),
  "lengths": lambda x: jnp.arange(x.shape[1]) * 2 + x.shape[0] * x.shape[1],
  "ceiling": lambda x: jnp.zeros((-(-x.shape[1] // 4) * 4, x.shape[1] % 3 + 1)),
  "broadcast": lambda x: x.mean(1, keepdims=True) + jnp.zeros_like(x),
  "repeated": lambda x: jnp.broadcast_to(x[:, :1, None, 0], (*x.shape[:2], 3)),
  "any": lambda x: jnp.any(x > 1, 1) & jnp.all(x > -2, 1),
  "order": lambda x: x.argmax(1) + jnp.cumsum(x, 1).min((1, 2))[:, None],
  "softmax": lambda x: jax.nn.softmax(x, 1),
  "moved": lambda x: x.transpose(1, 0, 2).reshape(x.shape[1], -1, 1),
  "stacked": lambda x: jnp.stack([x, x + 1], 2)[:, 0],
  "joined": lambda x: jnp.concatenate([x, x[:, :2] * 2], 1),
  "parts": lambda x: sum(jnp.split(x[..., :4], 2, -1)),
  "backwards": lambda x: x[:, ::-1],
  "every other": lambda x: x[:, :, 4:0:-2],
  "padded": lambda x: jnp.pad(x, ((0, 0), (2, x.shape[1]), (1, 0))),
  "cropped": lambda x: x[:, 1 : x.shape[1] // 2 + 1],
  "rows": lambda x: jnp.asarray(W)[jnp.arange(x.shape[1]) % 6],
  "columns": lambda x: jnp.asarray(W)[:, jnp.array([[0, 4], [1, 1]])] + x.sum(),
  "outside": lambda x: jnp.take(
    W, jnp.array([0, 6, 5]), 0, mode="fill", fill_value=0
  ),
  "clipped": lambda x: jnp.take(x, jnp.array([0, 99]), 1, mode="clip"),
  "placed": lambda x: jax.lax.dynamic_slice(x, (0, 1, 9), (1, 2, 2)),
  "scattered": lambda x: (
    jnp.ones(x.shape[1]).at[jnp.array([5, 99, 0, -99])].set(7, mode="drop")
  ),
  "product": lambda x: x @ W.T + jnp.einsum("btd,bsd->bts", x, x).sum(),
  "einsum": lambda x: jnp.einsum("btd,hd->hbt", x, W),
  "spectrum": lambda x: abs(jnp.fft.rfft(x).real) + jnp.fft.rfft(x).imag,
  "scan": scanned,
  "convolution": lambda x: jax.lax.conv_general_dilated(
    x,
    W[None, :, :3].reshape(2, 3, 3)[:, :1, :].repeat(5, 1)[..., :2],
    (2,),
    ((1, 3),),
    rhs_dilation=(2,),
    dimension_numbers=("NWC", "WIO", "NWC"),
  ),
  "groups": lambda x: jax.lax.conv_general_dilated(
    x[..., :4],
    W[:3, :4].reshape(3, 1, 4),
    (1,),
    "VALID",
    dimension_numbers=("NWC", "WIO", "NWC"),
    feature_group_count=4,
  ),
}


def signature(function) -> Signature:
  return Signature(
    {},
    lambda weights, x: (function(x),),
    {"x": Array("float32", ("batch", "size", 5), "")},
    {"y": Array("float32", (), "")},
    {"batch": (1, None), "size": (3, 40)},
    {},
    lambda random: (),
  )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operation(tmp_path, name):
  function = FUNCTIONS[name]
  x = np.random.default_rng(1).normal(size=(3, 7, 5)).astype(np.float32)
  expected = np.asarray(jax.jit(function)(x))
  dims = tuple(f"size {axis}" for axis in range(expected.ndim))
  result = {"y": Array(str(expected.dtype), dims, "")}
  described = signature(function)._replace(outputs=result)
  onnx_program.write(tmp_path, described)
  path = tmp_path / "model.onnx"
  onnx.checker.check_model(str(path), full_check=True)
  session = onnxruntime.InferenceSession(path)
  (found,) = session.run(None, {"x": x})
  assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("function", "what"),
  [
    (lambda x: x.at[:, 0].set(1), "a scatter into more than a vector"),
    (lambda x: jnp.sort(x), "computes sort, which is not written in ONNX"),
    (lambda x: jnp.fft.fft(x).real, "a Fourier transform of other than real"),
  ],
)
def test_what_has_no_counterpart(tmp_path, function, what):
  with pytest.raises(UserError, match=what) as caught:
    onnx_program.write(tmp_path, signature(function))
  assert "take --format=stablehlo" in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_large_weights_are_beside_the_model(tmp_path, monkeypatch):
  monkeypatch.setattr(onnx_program, "_LARGEST", 1000)
  weights = {"layer/kernel": np.ones((5, 300), np.float32)}
  described = signature(None)._replace(
    weights=weights, function=lambda weights, x: (x @ weights["layer/kernel"],)
  )
  onnx_program.write(tmp_path, described)
  assert (tmp_path / "model.onnx").stat().st_size < 2000
  session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
  x = np.ones((1, 3, 5), np.float32)
  np.testing.assert_array_equal(
    session.run(None, {"x": x})[0], x @ np.ones((5, 300))
  )
