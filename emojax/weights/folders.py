"""What a folder holds in the place of the checkpoint that was looked for."""

import itertools
import pathlib

_UNFINISHED = (
  *(".crdownload", ".incomplete", ".part", ".partial", ".download"),
  *(".aria2", ".opdownload", ".!ut", ".tmp"),
)
# Weights that are not read, by what their names match.
_FORMATS = (
  (("*.h5", "*.ckpt.index", "*.tflite", "saved_model.pb"), "TensorFlow"),
  (("*.msgpack",), "Flax"),
  (("*.onnx",), "ONNX"),
  (("*.gguf", "*.ggml", "ggml-*.bin"), "llama.cpp"),
  (("*.nemo",), "NeMo"),
  (("model.bin",), "CTranslate2"),
  (("*.pdparams",), "PaddlePaddle"),
  (("*.ot",), "rust-bert"),
  (
    ("*.pt", "*.pth", "*.th", "*.ckpt"),
    "OpenAI's programs, fairseq or a training script",
  ),
)
_NAMED = 3
_BELOW = ("*/", "*/*/")  # Also the commits in the cache of the hub.
_SEEN = 10_000  # Entries that are looked at for a message.


def hint(folder: pathlib.Path, wanted: tuple[str, ...]) -> str:
  """Says what is in a folder that holds none of the files, '' if nothing.

  A file in the folder's place, a download that has not ended, folders below
  that have one of the files, an adapter, weights of another format.
  """
  if folder.is_file():
    return f"this is a file: give its folder, {folder.parent}"
  if not folder.is_dir():
    return "there is no such folder"
  names = sorted(
    path.name for path in itertools.islice(folder.iterdir(), _SEEN)
  )
  closed = [name for name in names if name in wanted]
  if closed:
    return f"{_list(closed)} is a folder, or a link that leads to no file"
  unfinished = [name for name in names if name.lower().endswith(_UNFINISHED)]
  if unfinished:
    return f"{_list(unfinished)}: a download that has not ended; start it again"
  below = [
    str(path.parent.relative_to(folder))
    for pattern, file in itertools.product(_BELOW, wanted)
    for path in itertools.islice(folder.glob(pattern + file), _SEEN)
  ]
  if below:
    found = sorted(set(below), key=below.index)
    return f"there is one in its folder {_list(found)}: give that one"
  if any(name.startswith("adapter_") for name in names):
    return (
      "it holds an adapter (PEFT), not a whole model: merge it into its base "
      "model (merge_and_unload) and save that"
    )
  for patterns, program in _FORMATS:
    found = [n for n in names if any(map(pathlib.PurePath(n).match, patterns))]
    if found:
      return (
        f"{_list(found)}: weights in a format of {program}, which emojax does "
        "not read; save the model with transformers in PyTorch, or take it as "
        "saved from the hub, such as openai/whisper-base"
      )
  other = [n for n in names if n.endswith((".safetensors", ".bin"))]
  for name in wanted:
    if name.endswith(".safetensors") and other:
      return f"if {_list(other)} holds the weights, rename it to {name}"
  return ""


def _list(names: list[str]) -> str:
  return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
