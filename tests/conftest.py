"""What all tests share: strict numerics, real data, an isolated cache."""

import gc
import os
import pathlib
import shutil
import sys

# Programs of a few steps: XLA takes longer to optimise them than they run, and
# longer to compile with its new emitters of kernels than with the old ones, or
# in parts side by side, for which there is no core. It has to be said before
# JAX starts, hence the order here.
_QUICK_TO_COMPILE = (
  "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
  " --xla_cpu_use_fusion_emitters=false"
  " --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["XLA_FLAGS"] = (
  f"{os.environ.get('XLA_FLAGS', '')} {_QUICK_TO_COMPILE}"
)
# Of PyTorch, scikit-learn and BLAS: there is a process a core already, and on
# arrays this small a second thread waits more than it works.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A hundred processes import the same modules: they are compiled once, whatever
# the shell says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Of each operation JAX would write down all lines of Python that led to it.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# What one test has compiled serves the others, the other workers, the processes
# that tests start, and later runs, until it has become too much. The first
# process says so to the others.
_ROOT = pathlib.Path(__file__).parent.parent
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _COMPILED = _ROOT / ".pytest_cache" / "compiled"
  if sum(path.stat().st_size for path in _COMPILED.glob("*")) > 2e9:
    shutil.rmtree(_COMPILED)
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_COMPILED)
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import signal  # noqa: E402
import subprocess  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from emojax import loop  # noqa: E402
from emojax.data.table import FeatureTable  # noqa: E402

# Shapes that broadcast by accident are a defect.
jax.config.update("jax_numpy_rank_promotion", "raise")

# A job in the background is started with some of them ignored, as `nohup` does;
# the programs that tests start are to hear them.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
  if signal.getsignal(_number) == signal.SIG_IGN:
    signal.signal(_number, signal.SIG_DFL)


# Modules that take minutes: begun last, one process would wait for the other.
_LONGEST = (
  "test_slurm",
  "test_demo_study",
  "test_launch",
  "test_speech_study",
  "test_dann_study",
  "test_rlps_study",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Whole studies first, all else in its order."""
  items.sort(key=lambda item: item.path.stem not in _LONGEST)


def pytest_collection_finish() -> None:
  """Millions of objects of all that is imported stay: no use to look again.

  Nor so often among what is traced, which refers to itself everywhere.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 100)


@pytest.fixture
def real_data() -> pathlib.Path:
  """The folder of small real corpora, from `EMOJAX_TEST_DATA`."""
  named = os.environ.get("EMOJAX_TEST_DATA")
  folder = pathlib.Path(named or _ROOT.parent / "shared" / "data")
  if not (folder / "ravdess").is_dir():
    if named:
      pytest.fail(f"EMOJAX_TEST_DATA: no real data in {folder}")
    pytest.skip(f"no real data in {folder}: set EMOJAX_TEST_DATA")
  return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
  """An empty user cache for this test and the processes that it starts."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  return tmp_path / "cache" / "emojax"


@pytest.fixture
def small_disk(tmp_path) -> Iterator[pathlib.Path]:
  """A real file system of one megabyte."""
  folder = tmp_path / "disk"
  folder.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
  try:
    done = subprocess.run(mount, capture_output=True, text=True)
  except FileNotFoundError:
    pytest.skip("there is no mount on this machine")
  if done.returncode:
    pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
  yield folder
  subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def stop_after() -> Callable[[pytest.MonkeyPatch, int], None]:
  """Asks the job to stop in its round `count`, as a scheduler does."""

  def stop(patch, count):
    rounds = []
    original = loop._Records.add

    def add(self, round_, record):
      rounds.append(round_)
      if len(rounds) == count:
        os.kill(os.getpid(), signal.SIGTERM)
      original(self, round_, record)

    patch.setattr(loop._Records, "add", add)

  return stop


@pytest.fixture(scope="session")
def make_table() -> Callable[..., FeatureTable]:
  """A function that makes a small corpus in the manner of IEMOCAP.

  Sessions of two speakers, dialogues of one length, so that batches of one
  step have one shape; emotions and speakers can be heard.
  """

  def make(
    num_sessions=5,
    num_dialogues=2,
    num_turns=6,
    audio=12,
    text=6,
    noise=0.5,
    seed=0,
  ):
    rng = np.random.default_rng(seed)
    sizes = (num_sessions, num_dialogues, num_turns)
    session, dialogue, turn = (index.ravel() for index in np.indices(sizes))
    emotion = rng.permutation(np.arange(len(turn)) % 4)
    speaker = 2 * session + turn % 2
    audio_of_emotion = rng.normal(size=(4, audio))
    audio_of_speaker = rng.normal(size=(2 * num_sessions, audio))
    text_of_emotion = rng.normal(size=(4, text))
    noises = noise * rng.normal(size=(len(turn), audio + text))
    features = {
      "audio": audio_of_emotion[emotion] + audio_of_speaker[speaker],
      "text": text_of_emotion[emotion],
    }
    features["audio"] += noises[:, :audio]
    features["text"] += noises[:, audio:]
    names = (session + 1).astype(str)
    return FeatureTable(
      {name: values.astype(np.float32) for name, values in features.items()},
      label=np.array(["angry", "happy", "neutral", "sad"])[emotion],
      speaker=np.char.add(names, np.array(["F", "M"])[turn % 2]),
      dialogue=dialogue.astype(str),
      turn=turn,
      session=names,
    )

  return make
