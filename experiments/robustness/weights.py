"""Published weights: their files, configs and tokenizers, in every layout."""

import io
import json
import pathlib
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import jax
import numpy as np
import tokenizers
from hypothesis import strategies as st

from emojax import encoders
from emojax.encoders import ctc, elmo, elmo_files, text
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_model import CTC
from emojax.weights import checkpoints
from experiments.robustness import edits
from experiments.robustness.guard import require
from experiments.robustness.parser import Parser

_SPEECH = {
  "model_type": "wav2vec2",
  "vocab_size": 8,
  "hidden_size": 8,
  "num_hidden_layers": 1,
  "num_attention_heads": 2,
  "intermediate_size": 8,
  "conv_dim": [4, 4],
  "conv_kernel": [10, 4],
  "conv_stride": [5, 4],
  "num_conv_pos_embeddings": 4,
  "num_conv_pos_embedding_groups": 2,
  "feat_extract_norm": "group",
  "hidden_act": "gelu",
  "layer_norm_eps": 1e-5,
}
_TEXT = {
  "model_type": "bert",
  "vocab_size": 8,
  "hidden_size": 8,
  "num_hidden_layers": 1,
  "num_attention_heads": 2,
  "intermediate_size": 8,
  "max_position_embeddings": 16,
  "type_vocab_size": 2,
  "hidden_act": "gelu",
}
_PREPROCESSOR = {
  "feature_extractor_type": "Wav2Vec2FeatureExtractor",
  "feature_size": 1,
  "padding_value": 0.0,
  "sampling_rate": 16_000,
  "do_normalize": True,
  "return_attention_mask": False,
}
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s"]


def _json(value: Any) -> bytes:
  return json.dumps(value, indent=2).encode()


def _named(shapes: Any) -> dict[str, np.ndarray]:
  """Random weights of a Flax module with PyTorch's names and axes."""
  rng = np.random.default_rng(0)
  found = {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
    *modules, last = (jax.tree_util.keystr((key,), simple=True) for key in path)
    name = ".".join(re.sub(r"_(\d+)$", r".\1", module) for module in modules)
    values = rng.normal(size=leaf.shape).astype(np.float32)
    if last in ("kernel", "scale", "embedding"):
      values, last = values.T if last == "kernel" else values, "weight"
    found[f"{name}.{last}" if name else last] = values
  return found


def _describe(tensors: Mapping[str, np.ndarray]) -> tuple[dict, bytes]:
  """The header of a safetensors file, and the bytes behind it."""
  header, body = {"__metadata__": {"format": "pt"}}, b""
  for name, values in tensors.items():
    content = np.ascontiguousarray(values).tobytes()
    kind = {"f": "F", "i": "I"}[values.dtype.kind] + str(8 * values.itemsize)
    offsets = [len(body), len(body) + len(content)]
    header[name] = {
      "dtype": kind,
      "shape": list(values.shape),
      "data_offsets": offsets,
    }
    body += content
  return header, body


def safetensors(tensors: Mapping[str, np.ndarray]) -> bytes:
  """A safetensors file."""
  header, body = _describe(tensors)
  text = json.dumps(header).encode()
  return struct.pack("<Q", len(text)) + text + body


def spoilt_safetensors(
  tensors: Mapping[str, np.ndarray],
) -> st.SearchStrategy[bytes]:
  """Edits of its header and of the header's length."""
  return _spoilt(*_describe(tensors))


@st.composite
def _spoilt(draw, header: dict, body: bytes) -> bytes:
  header = draw(edits.tree(header, odd=("BF16", "F8_E4M3", "BOOL", "I64", "X")))
  text = json.dumps(header, ensure_ascii=draw(st.booleans())).encode(
    "utf-8", "replace"
  )
  length = len(text)
  if draw(st.integers(0, 4)) == 0:
    length = draw(
      st.sampled_from((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1))
    )
  return struct.pack("<Q", length) + text + body


def _open(folder: pathlib.Path) -> None:
  for name, read in checkpoints.open_tensors(folder).items():
    require(isinstance(name, str), "a name that is no text")
    values = read()
    require(isinstance(values, np.ndarray), f"{name} is no array"[:80])
    # Touches each element where there is one: views may lead anywhere.
    require(values.size < 2**24, f"a tensor of {values.size} elements")
    with np.errstate(invalid="ignore"):
      float(np.asarray(values).astype(np.complex128).real.sum())


def _tensors() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    "a.weight": rng.normal(size=(4, 3)).astype(np.float32),
    "a.bias": rng.normal(size=4).astype(np.float16),
    "b.steps": np.arange(5),
  }


_SINGLE = {"model.safetensors": safetensors(_tensors())}
_SHARDS = {
  f"model-0000{n}-of-00003.safetensors": {name: values}
  for n, (name, values) in enumerate(_tensors().items(), 1)
}
_INDEX = {
  "metadata": {"total_size": 100},
  "weight_map": {name: file for file, part in _SHARDS.items() for name in part},
}
_SHARDED = {
  "model.safetensors.index.json": _json(_INDEX),
  **{file: safetensors(part) for file, part in _SHARDS.items()},
}


def _emit(value: Any) -> bytes:
  """Opcodes that put a value on the stack of a pickle."""
  match value:
    case bool() | None:
      return {True: b"\x88", False: b"\x89", None: b"N"}[value]
    case int():
      size = (value.bit_length() // 8) + 1
      return (
        b"\x8a"
        + bytes([min(size, 255)])
        + value.to_bytes(size, "little", signed=True)
      )
    case float():
      return b"G" + struct.pack(">d", value)
    case str():
      content = value.encode("utf-8", "replace")
      return b"X" + struct.pack("<I", len(content)) + content
    case dict():
      items = b"".join(_emit(key) + _emit(part) for key, part in value.items())
      return b"}(" + items + b"u"
    case list() | tuple():
      if len(value) == 6 and isinstance(value, list):
        return _emit_tensor(*value)
      return b"(" + b"".join(map(_emit, value)) + b"t"
  return b"N"


def _emit_tensor(kind, key, size, offset, shape, strides) -> bytes:
  """A tensor as `torch.save` writes it."""
  name = kind if isinstance(kind, str) and kind.isidentifier() else "os"
  storage = b"(" + _emit("storage") + f"ctorch\n{name}Storage\n".encode()
  storage += _emit(key) + _emit("cpu") + _emit(size) + b"tQ"
  rest = _emit(offset) + _emit(shape) + _emit(strides)
  rest += b"\x89ccollections\nOrderedDict\n)R"
  return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


_STATE = {
  "a.weight": ["Float", "0", 12, 0, (4, 3), (3, 1)],
  "a.bias": ["Half", "1", 4, 0, (4,), (1,)],
  "b.steps": ["Long", "2", 5, 0, (5,), (1,)],
}


def _archive(program: bytes) -> dict[str, bytes]:
  """The entries of a file of `torch.save`."""
  storages = {
    f"m/data/{n}": values.tobytes()
    for n, values in enumerate(_tensors().values())
  }
  return {
    "m/data.pkl": program,
    "m/byteorder": b"little",
    **storages,
    "m/version": b"3\n",
  }


@st.composite
def _spoilt_bin(draw) -> bytes:
  """Edits of the pickle in it, of what it describes, of the archive."""
  state = _STATE
  if draw(st.booleans()):
    state = {
      name: [*fields[:4], list(fields[4]), list(fields[5])]
      for name, fields in _STATE.items()
    }
    state = draw(
      edits.tree(
        state, odd=("os", "Double", "BFloat16", "ComplexFloat", "Bool")
      )
    )
  program = b"\x80\x02" + _emit(state) + b"."
  kinds = ["plain"] * 6 + ["bytes", "hostile", "nested"]
  match draw(st.sampled_from(kinds)):
    case "bytes":
      program = draw(edits.damaged(program))
    case "hostile":
      call = b"cos\nsystem\n(X\x1c\0\0\0touch /tmp/emojax-fuzz-was-heretR"
      program = b"\x80\x02}(" + _emit("a") + call + b"u."
    case "nested":
      program = b"\x80\x02}(" + _emit("a") + b")" + b"\x85" * 20_000 + b"u."
  return draw(edits.zipped(_archive(program)))


def _plain_bin() -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    for name, content in _archive(b"\x80\x02" + _emit(_STATE) + b".").items():
      archive.writestr(zipfile.ZipInfo(name), content)
  return file.getvalue()


_BIN = {"pytorch_model.bin": _plain_bin()}


def _weights_of(module, *example) -> bytes:
  shapes = jax.eval_shape(module.init, jax.random.key(0), *example)["params"]
  return safetensors(_named(shapes))


def _speech_files() -> dict[str, bytes]:
  config = SpeechConfig.from_json(_SPEECH, "here")
  model = CTC(config, False)
  shapes = jax.eval_shape(
    model.init, jax.random.key(0), np.zeros((1, config.min_samples), np.float32)
  )["params"]
  letters = ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C"]
  return {
    "config.json": _json(_SPEECH),
    "preprocessor_config.json": _json(_PREPROCESSOR),
    "model.safetensors": safetensors(_named(shapes)),
    "vocab.json": _json({letter: n for n, letter in enumerate(letters)}),
    "tokenizer_config.json": _json(
      {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>"}
    ),
    "special_tokens_map.json": _json(
      {"unk_token": "<unk>", "pad_token": "<pad>"}
    ),
  }


def _tokenizer() -> bytes:
  made = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(
      {word: n for n, word in enumerate(_WORDS)}, unk_token="[UNK]"
    )
  )
  made.normalizer = tokenizers.normalizers.BertNormalizer()
  made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  made.post_processor = tokenizers.processors.BertProcessing(
    ("[SEP]", 3), ("[CLS]", 2)
  )
  return made.to_str().encode()


def _text_files() -> dict[str, bytes]:
  model = text.TextEncoder(text.TextConfig.from_json(_TEXT, "here"))
  example = np.zeros((1, 2), np.int32), np.zeros(1, np.int32)
  return {
    "config.json": _json(_TEXT),
    "model.safetensors": _weights_of(model, *example),
    "tokenizer.json": _tokenizer(),
  }


def _vocabulary_files() -> dict[str, bytes]:
  files = _text_files()
  del files["tokenizer.json"]
  files["vocab.txt"] = "".join(f"{word}\n" for word in _WORDS).encode()
  files["tokenizer_config.json"] = _json({"tokenizer_class": "BertTokenizer"})
  return files


def _is_finite(params: Any) -> bool:
  """Of shape and type alone: what a file holds may be any number."""
  return all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


def _load_speech(folder: pathlib.Path) -> None:
  source = encoders.find(str(folder))
  encoder = source.encoder
  require(
    0 < encoder.min_samples < 2**40, f"{encoder.min_samples} samples a frame"
  )
  require(encoder.samples_per_frame > 0, "frames of no samples")
  require(
    encoder.num_frames(encoder.min_samples) == 1, "frames that do not fit"
  )
  require(_is_finite(source.load()), "weights of another type")


def _load_ctc(folder: pathlib.Path) -> None:
  found = ctc.load(str(folder))
  for word in found.words(np.arange(found.config.vocab_size)):
    require(isinstance(word.text, str), "a word that is no text")


def _load_text(folder: pathlib.Path) -> None:
  encoder = text.load(str(folder))
  require(_is_finite(encoder.params), "weights of another type")
  require(encoder.config.max_tokens > 2, "no room for a word")
  for ids in encoder.tokenizer(["the dogs", "", "Ünïcode 😀"]):
    require(
      all(0 <= n < encoder.config.vocab_size for n in ids), "ids of no word"
    )


_OPTIONS = {
  "lstm": {
    "use_skip_connections": True,
    "projection_dim": 3,
    "cell_clip": 3,
    "proj_clip": 3,
    "dim": 4,
    "n_layers": 1,
  },
  "char_cnn": {
    "activation": "relu",
    "filters": [[1, 2], [2, 2]],
    "n_highway": 1,
    "embedding": {"dim": 2},
    "n_characters": 262,
    "max_characters_per_token": 6,
  },
}


def _elmo_shapes(options: bytes, folder: pathlib.Path) -> dict:
  path = folder / "options.json"
  path.write_bytes(options)
  model = elmo.BidirectionalLanguageModel(elmo_files.read_options(path))
  example = elmo.characters([[]], 6)
  return jax.eval_shape(model.init, jax.random.key(0), *example)["params"]


def _hdf5(arrays: Mapping[str, Any]) -> bytes:
  file = io.BytesIO()
  with h5py.File(file, "w") as target:
    for name, values in arrays.items():
      target[name] = values
  return file.getvalue()


def _elmo_arrays() -> dict[str, np.ndarray]:
  import tempfile

  with tempfile.TemporaryDirectory() as folder:
    shapes = _elmo_shapes(_json(_OPTIONS), pathlib.Path(folder))
  rng = np.random.default_rng(0)
  return {
    name: rng.normal(size=shape.shape).astype(np.float32)
    for name, shape in shapes.items()
  }


@st.composite
def _spoilt_hdf5(draw, arrays: Mapping[str, np.ndarray]) -> bytes:
  """Edits of the data sets of an HDF5 file, then of its bytes."""
  found: dict[str, Any] = dict(arrays)
  for _ in range(draw(st.integers(0, 2))):
    name = draw(st.sampled_from(sorted(arrays)))
    odd = [
      np.zeros(3),
      np.float32(1),
      np.zeros(arrays[name].shape, int),
      b"text",
    ]
    odd += [
      np.full(arrays[name].shape, np.nan),
      arrays[name].astype(np.float64),
    ]
    odd += [h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/x")]
    odd += [
      h5py.SoftLink("/"),
      h5py.Empty("f4"),
      np.zeros(arrays[name].shape, "c8"),
    ]
    match draw(st.sampled_from(("odd", "odd", "lost", "name"))):
      case "odd":
        found[name] = draw(st.sampled_from(odd))
      case "lost":
        found.pop(name, None)
      case "name" if name in found:
        found[f"{name}_more"] = found.pop(name)
  content = _hdf5(found)
  return draw(st.one_of(st.just(content), edits.damaged(content, 5)))


_ARRAYS = _elmo_arrays()
_ELMO = {"options.json": _json(_OPTIONS), "weights.hdf5": _hdf5(_ARRAYS)}


def _load_elmo(folder: pathlib.Path) -> None:
  loaded = elmo.load(folder)
  require(_is_finite(loaded.params), "weights of another type")


_SPEECH_FILES, _TEXT_FILES = _speech_files(), _text_files()
_VOCABULARY_FILES = _vocabulary_files()

PARSERS = (
  Parser(
    *("safetensors", 8, _SINGLE),
    edits.folder(
      _SINGLE, {"model.safetensors": lambda _: spoilt_safetensors(_tensors())}
    ),
    _open,
  ),
  Parser(
    *("safetensors in shards", 6, _SHARDED),
    edits.folder(
      _SHARDED,
      {
        "model.safetensors.index.json": edits.json_tree,
        **{
          file: lambda _, part=part: spoilt_safetensors(part)
          for file, part in _SHARDS.items()
        },
      },
    ),
    _open,
  ),
  Parser(
    *("PyTorch's .bin", 10, _BIN),
    edits.folder(_BIN, {"pytorch_model.bin": lambda _: _spoilt_bin()}),
    _open,
  ),
  Parser(
    *("speech encoder", 6, _SPEECH_FILES),
    edits.folder(
      _SPEECH_FILES,
      dict.fromkeys(
        ("config.json", "preprocessor_config.json"), edits.json_tree
      ),
    ),
    _load_speech,
  ),
  Parser(
    *("speech transcriber", 3, _SPEECH_FILES),
    edits.folder(
      _SPEECH_FILES,
      dict.fromkeys(
        ("vocab.json", "tokenizer_config.json", "special_tokens_map.json"),
        edits.json_tree,
      ),
    ),
    _load_ctc,
  ),
  Parser(
    *("text encoder", 6, _TEXT_FILES),
    edits.folder(
      _TEXT_FILES,
      dict.fromkeys(("config.json", "tokenizer.json"), edits.json_tree),
    ),
    _load_text,
  ),
  Parser(
    *("vocabulary", 3, _VOCABULARY_FILES),
    edits.folder(
      _VOCABULARY_FILES,
      {
        "vocab.txt": edits.rows("\t", False),
        "tokenizer_config.json": edits.json_tree,
      },
    ),
    _load_text,
  ),
  Parser(
    *("ELMo", 6, _ELMO),
    edits.folder(
      _ELMO,
      {
        "options.json": edits.json_tree,
        "weights.hdf5": lambda _: _spoilt_hdf5(_ARRAYS),
      },
    ),
    _load_elmo,
  ),
)
