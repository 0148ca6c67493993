"""Events are read back here by an independent reader of the file format."""

import collections
import errno
import io
import os
import pathlib
import signal
import struct
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import metrics, values
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from emojax.errors import UserError
from emojax.runtime.writers import TensorBoardWriter

ROOT = pathlib.Path(__file__).parents[2]


def crc32c(data: bytes) -> int:
  """Castagnoli's CRC, bit by bit."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
  return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
  crc = crc32c(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_file(path: pathlib.Path) -> list[Event]:
  """Events of one TFRecord file; a torn record at its end is left out."""
  data = path.read_bytes()
  events, offset = [], 0
  while len(data) - offset >= 12:
    length, header_crc = struct.unpack_from("<QI", data, offset)
    assert header_crc == masked(data[offset : offset + 8])
    end = offset + 12 + length
    if len(data) < end + 4:
      break
    record = data[offset + 12 : end]
    assert struct.unpack_from("<I", data, end) == (masked(record),)
    events.append(Event.FromString(record))
    offset = end + 4
  return events


def read_folder(folder: pathlib.Path) -> dict[str, dict[int, list]]:
  """`{tag: {step: [values]}}` as TensorBoard shows it.

  Like its EventAccumulator: files in the order of their names; a session that
  starts at a step expires whatever was read from that step on.
  """
  read = collections.defaultdict(lambda: collections.defaultdict(list))
  for path in sorted(folder.glob("events.out.tfevents.*")):
    for event in read_file(path):
      if event.session_log.status == SessionLog.START:
        for steps in read.values():
          for step in [step for step in steps if step >= event.step]:
            del steps[step]
      for value in event.summary.value:
        read[value.tag][event.step].append(value)
  return read


def scalars(folder: pathlib.Path, tag: str) -> dict[int, list[float]]:
  return {
    step: [value.simple_value for value in found]
    for step, found in read_folder(folder)[tag].items()
  }


@pytest.fixture
def writer(tmp_path):
  writer = TensorBoardWriter(tmp_path / "run")
  yield writer
  writer.close()


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  return tmp_path / "run"


def test_scalars(writer, folder):
  writer.write(1, {"train/loss": 0.5, "accuracy": np.float64(0.25)})
  writer.write(2, {"train/loss": jnp.full((1,), 2.0)})
  writer.flush()
  assert scalars(folder, "train/loss") == {1: [0.5], 2: [2.0]}
  assert scalars(folder, "accuracy") == {1: [0.25]}


def test_scalar_with_several_elements_is_refused(writer):
  with pytest.raises(ValueError, match=r"loss is no scalar.*\(2,\)"):
    writer.write(1, {"loss": np.zeros(2)})


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images(writer, folder, dtype):
  pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
  scale = 1 if dtype == np.uint8 else 255
  writer.write(3, {"faces": values.Image((pixels / scale).astype(dtype))})
  writer.write(3, {"grey": values.Image(pixels[0, :, :, :1])})
  writer.flush()
  read = read_folder(folder)
  for index in range(2):
    (value,) = read[f"faces/{index}"][3]
    image = Image.open(io.BytesIO(value.image.encoded_image_string))
    np.testing.assert_array_equal(np.asarray(image), pixels[index])
  (value,) = read["grey"][3]
  image = Image.open(io.BytesIO(value.image.encoded_image_string))
  np.testing.assert_array_equal(np.asarray(image)[..., 0], pixels[0, :, :, 0])


def test_image_of_another_rank_is_refused(writer):
  with pytest.raises(ValueError, match=r"face is no image.*\(4, 4\)"):
    writer.write(1, {"face": values.Image(np.zeros((4, 4)))})


def test_texts(writer, folder):
  writer.write(1, {"note": values.Text("the **réport**")})
  writer.flush()
  (value,) = read_folder(folder)["note/text_summary"][1]
  assert value.tensor.string_val[0].decode() == "the **réport**"


def test_values_go_by_their_type(writer, folder):
  collection = metrics.Collection.create_collection(
    loss=metrics.Average.from_model_output(jnp.asarray([1.0, 2.0]))
  )
  writer.write(1, collection.compute_values())
  writer.write(
    1,
    {
      "bare": np.float32(3.0),
      "image": values.Image(np.zeros((2, 2, 1))),
      "text": values.Text("hello"),
    },
  )
  with pytest.raises(TypeError, match="audio: no way to write a Audio"):
    writer.write(1, {"audio": values.Audio(np.zeros((1, 9, 1)), 9)})
  writer.flush()
  assert scalars(folder, "loss") == {1: [1.5]}
  assert scalars(folder, "bare") == {1: [3.0]}
  assert set(read_folder(folder)) >= {"image", "text/text_summary"}


KILLED = """
import os, signal, sys
from emojax.runtime.writers import TensorBoardWriter
assert not {"tensorflow", "torch"} & sys.modules.keys()
writer = TensorBoardWriter(sys.argv[1])
for step in range(1, 8):
  writer.write(step, {"loss": step})
  if step <= 6:
    writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_steps_done_again_after_a_kill_appear_once(folder):
  command = [sys.executable, "-c", KILLED, str(folder)]
  killed = subprocess.run(command, cwd=ROOT)
  assert killed.returncode == -signal.SIGKILL
  flushed = {step: [float(step)] for step in range(1, 7)}
  assert scalars(folder, "loss") == flushed

  resumed = TensorBoardWriter(str(folder), first_step=5)
  for step in range(5, 9):
    resumed.write(step, {"loss": 100 + step})
  resumed.close()
  assert len(list(folder.iterdir())) == 2
  assert scalars(folder, "loss") == {
    **{step: [float(step)] for step in range(1, 5)},
    **{step: [100.0 + step] for step in range(5, 9)},
  }


def test_a_run_started_again_from_nothing_appears_once(folder):
  """Killed before the first checkpoint, twice in the same second."""
  for value in range(3):
    writer = TensorBoardWriter(str(folder))
    writer.write(1, {"loss": value})
    writer.close()
  assert len(list(folder.iterdir())) == 3
  assert scalars(folder, "loss") == {1: [2.0]}


def test_torn_last_record_spoils_nothing(folder):
  writer = TensorBoardWriter(str(folder))
  writer.write(1, {"loss": 1.0})
  writer.write(2, {"loss": 2.0})
  writer.close()
  (path,) = folder.iterdir()
  path.write_bytes(path.read_bytes()[:-3])
  resumed = TensorBoardWriter(str(folder), first_step=2)
  resumed.write(2, {"loss": 3.0})
  resumed.close()
  assert scalars(folder, "loss") == {1: [1.0], 2: [3.0]}


def test_other_processes_write_nothing(folder, monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  writer = TensorBoardWriter(str(folder))
  writer.write(1, {"loss": 1.0})
  writer.flush()
  writer.close()
  assert not folder.exists()


def test_full_disk_is_one_line(writer, monkeypatch):
  def full(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with monkeypatch.context() as patch:
    patch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"events to .*/run \(No space left"):
      writer.flush()


def test_folder_that_is_a_file_is_one_line(tmp_path):
  (tmp_path / "run").write_text("")
  with pytest.raises(UserError, match="cannot write TensorBoard events to"):
    TensorBoardWriter(str(tmp_path / "run" / "events"))
