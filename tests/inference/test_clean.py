"""A selector applied to training sets of people's own, and what it refuses."""

import csv
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from PIL import Image

from emojax import __main__ as command
from emojax import encoders
from emojax.corpora import faces as corpora
from emojax.corpora.faces import manifest as face_manifest
from emojax.errors import UserError
from emojax.inference import clean as cleaner
from emojax.runtime import tensors
from emojax.systems import classifiers, selectors, stored
from emojax.systems.faces import FaceSystem
from emojax.systems.selectors import Selector
from emojax.systems.speech import SpeechSystem

CLASSES = "happy", "sad"
FACES = FaceSystem(CLASSES, "dcnn", (4,) * 6, 8, 0.5, 0, (16, 16), 1)
SPEECH = SpeechSystem(
  encoder=encoders.find("log_mel").encoder,
  classes=CLASSES,
  window_seconds=0.3,
  pooling="attention",
  weigh_layers=False,
  averaged_frames=1,
  hidden=8,
  dropout=0.3,
)
RATE = 16_000


def write(folder, selector, weights):
  """A finished run with a selector, as training leaves it."""
  system = selector.classifier
  params = weights["classifier"]
  params = params if isinstance(system, FaceSystem) else params["params"]
  found = stored.writers(system, params)
  found |= stored.writers(selector, weights, selectors.FILES)
  (folder / "model").mkdir(parents=True)
  for name, make in found.items():
    make(folder / name)
  (folder / "summary.json").touch()
  return folder


def make_run(folder, classifier=FACES, bias=6.5, **changes):
  fields = {"labels": "happy+excited,sad", "widths": (6,), "key": (1, 2)}
  fields |= {"retention_floor": 0.0, "batch_size": 8}
  selector = Selector(classifier=classifier, **{**fields, **changes})
  leaves, form = jax.tree.flatten(selector.shapes())
  rng = np.random.default_rng(0)
  weights = form.unflatten(
    [rng.normal(0, 0.3, one.shape).astype(np.float32) for one in leaves]
  )
  weights["size"] = np.abs(weights["size"]) + 0.1
  # Some of whatever comes are to stay, whoever stayed before.
  kernel = weights["policy"]["layer_0"]["kernel"]
  kernel[len(weights["size"]) :] *= 0.1
  weights["policy"]["output"]["kernel"] *= 10
  weights["policy"]["output"]["bias"][:] = bias
  return write(folder, selector, weights)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("selector") / "run")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
  """`LABEL/IMAGE` in the folder `set`, below the current one."""
  monkeypatch.chdir(tmp_path)
  rng = np.random.default_rng(0)
  for label in ("happy", "sad", "excited"):
    (tmp_path / "set" / label).mkdir(parents=True)
    for number in range(6):
      pixels = rng.integers(0, rng.integers(20, 256), (20, 20), np.uint8)
      Image.fromarray(pixels).save(f"set/{label}/{number}.png")
  return "set"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """Small figures."""
  monkeypatch.setattr(cleaner, "_SHOWN", 3)


def clean(run, *arguments):
  command.main(["emojax", "clean", str(run), *arguments])


def read(name):
  with open(name, encoding="utf-8", newline="") as file:
    return list(csv.DictReader(file))


def pass_(run, inputs, label_N):
  """Algorithm 1's final pass, image by image, in the order of the key."""
  selector, weights = stored.load(run, Selector, names=selectors.FILES)
  apply = classifiers.of(selector.classifier).apply
  key = jax.random.key(0)
  _, features_NxD, _ = apply(weights["classifier"], inputs, False, key)
  features_NxD = np.asarray(features_NxD) / weights["size"]
  pass_key = jax.random.wrap_key_data(np.array(selector.key, np.uint32))
  order_key, *_ = jax.random.split(pass_key, 3)
  kept = []
  probability_N = np.zeros(len(label_N))
  for row in np.asarray(jax.random.permutation(order_key, len(label_N))):
    mean_D = np.mean(kept, axis=0) if kept else 0 * features_NxD[0]
    state = jnp.concatenate([features_NxD[row], mean_D])[None]
    logit = selector.network().apply({"params": weights["policy"]}, state)
    probability_N[row] = jax.nn.sigmoid(logit)[0]
    if probability_N[row] >= 0.5:
      kept.append(features_NxD[row])
  return probability_N


def test_a_folder_without_parts(run, pictures, capsys, caplog):
  clean(run, pictures)
  kept, removed = read("kept.csv"), read("kept-removed.csv")
  assert list(kept[0]) == ["path", "label", "part", "probability", "rank"]
  rows = sorted(kept + removed, key=lambda row: row["path"])
  # Below the folder of the list paths are its own.
  names = sorted(
    os.path.join(folder, name)
    for folder, _, names in os.walk("set")
    for name in names
  )
  assert [row["path"] for row in rows] == names
  assert {row["part"] for row in rows} == {"train"}
  images = np.stack(
    [np.asarray(Image.open(name).resize((16, 16), 2)) for name in names]
  )
  expected = pass_(run, images[..., None], np.zeros(18, int))
  found = [float(row["probability"]) for row in rows]
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert 0 < len(removed) < 18
  for row in removed:
    assert float(row["probability"]) < 0.5
    assert row["reason"].startswith("stays with ")
    assert row["predicted"] in CLASSES
    assert 0 <= float(row["label_probability"]) <= 1
  counts = capsys.readouterr().out
  happy = sum(row["label"] != "sad" for row in kept)
  assert f"kept.csv: {len(kept)} of 18 stay: happy {happy} of 12, sad" in counts
  # Our own reader takes it: with no test part it says so.
  with pytest.raises(UserError, match="no row whose part is test"):
    corpora.read("manifest", "kept.csv")


def test_the_floor_brings_back_the_likeliest(tmp_path, pictures):
  run = make_run(tmp_path / "run", retention_floor=1.0)
  clean(run, pictures)
  assert len(read("kept.csv")) == 18
  assert read("kept-removed.csv") == []


def test_rows_that_are_not_judged_stay(run, pictures, caplog):
  lines = ["path,label,part,left,top,right,bottom"]
  lines += [f"set/happy/{n}.png,joy,train,,,," for n in range(6)]
  lines += ["set/sad/0.png,sad,,1,2,15,16", "set/sad/0.png,sad,,4,4,20,20"]
  lines += ["set/sad/1.png,angry,train,,,,", "set/sad/2.png,,train,,,,"]
  lines += ["set/sad/3.png,sad,test,,,,"]
  with open("faces.csv", "w", encoding="utf-8") as file:
    file.write("\n".join(lines))
  clean(run, "faces.csv", "--output=out/stay.csv")
  kept, removed = read("out/stay.csv"), read("out/stay-removed.csv")
  alone = [row for row in kept if not row["probability"]]
  assert [os.path.basename(row["path"]) for row in alone] == [
    *("1.png", "2.png", "3.png")
  ]
  assert [row["part"] for row in alone] == ["train", "train", "test"]
  assert "2 of 10 examples for training have no label" in caplog.text
  assert "(1 angry, 1 no label); they stay as they are" in caplog.text
  boxes = [row["left"] for row in kept + removed if row["left"]]
  assert sorted(boxes) == ["1", "4"]
  # Not below the list: absolute, and it reads itself again.
  assert all(os.path.isabs(row["path"]) for row in kept + removed)
  found = face_manifest.read_any("out/stay.csv")
  assert [one.box for one in found if one.box] == [
    tuple(int(row[name]) for name in face_manifest.BOX)
    for row in kept
    if row["left"]
  ]


def test_what_can_not_be_used_goes(run, pictures, caplog):
  open("set/sad/7.png", "w", encoding="utf-8").close()
  clean(run, pictures)
  (row,) = [r for r in read("kept-removed.csv") if r["path"].endswith("7.png")]
  assert row["reason"] == "can not be used: an empty file"
  assert row["probability"] == row["rank"] == ""
  assert "removed set/sad/7.png: an empty file" in caplog.text


@pytest.fixture(scope="module")
def listening(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("clips") / "run", SPEECH, 3)


@pytest.fixture
def clips(tmp_path, monkeypatch):
  """A manifest of tones, and of segments of one file."""
  monkeypatch.chdir(tmp_path)
  rng = np.random.default_rng(0)
  lines = ["path,label,speaker,start,end"]
  for number in range(6):
    samples = 0.1 * rng.normal(size=RATE // 5 * (1 + number % 2))
    soundfile.write(f"{number}.wav", samples, RATE)
    lines.append(f"{number}.wav,{CLASSES[number % 2]},p{number},,")
  lines.append("5.wav,sad,p5,0.1,0.35")
  with open("clips.csv", "w", encoding="utf-8") as file:
    file.write("\n".join(lines))
  return "clips.csv"


def test_clips(listening, clips, caplog):
  clean(listening, clips)
  kept, removed = read("kept.csv"), read("kept-removed.csv")
  columns = ["path", "start", "end", "label", "speaker", "probability", "rank"]
  assert list(kept[0]) == columns
  rows = sorted(kept + removed, key=lambda row: (row["path"], row["start"]))
  size = SPEECH.window_samples
  audio = np.zeros((7, size), np.int16)
  lengths = []
  for index, row in enumerate(rows):
    samples, _ = soundfile.read(row["path"], dtype="int16")
    if row["start"]:
      samples = samples[round(0.1 * RATE) : round(0.35 * RATE)]
    lengths.append(min(len(samples), size))
    audio[index, : lengths[-1]] = samples[:size]
  inputs = {"audio": audio, "length": np.array(lengths, np.int32)}
  assert rows[-1]["start"] == "0.1"
  expected = pass_(listening, inputs, np.zeros(7, int))
  # The order of the pass is that of the rows, which sorting has kept.
  found = [float(row["probability"]) for row in rows]
  np.testing.assert_allclose(found, expected, atol=1e-4)
  assert os.path.exists("kept-contested.png")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["missing"], "missing: no such file or folder; expected a CSV"),
    (["set", "--corpus=mine"], "--corpus=mine: no such corpus; there are"),
    (["set/happy"], "set/happy: no face; expected"),
    (["empty"], "no face; expected"),
    (["others.csv"], "no example for training has a label that the selector "),
    (["unreadable.csv"], "none of 1 examples can be used; the first: .*gone"),
    (["others.csv", "--output=others.csv"], "others.csv is what is read, and"),
    (["missing", "--output=others.csv"], "missing: no such file or folder"),
    ([], "usage: emojax clean RUN DATA"),
    (["set", "more"], "usage: emojax clean RUN DATA"),
    (["parts.csv"], "line 2: unknown part 'dawn'; there are train"),
    (["boxes.csv"], "line 2: of left, top, right, bottom one is missing"),
    (["names.csv"], "line 2: unknown label 'glad'"),
    (["twice.csv"], "is there twice, as sad and as happy"),
    (["set", "--output=set"], "is a folder: name a file in it"),
  ],
)
def test_bad_data_is_one_line(run, pictures, tmp_path, arguments, message):
  (tmp_path / "empty").mkdir()
  for name, lines in {
    "others": ["set/sad/0.png,angry,train,,,,"],
    "unreadable": ["gone.png,sad,train,,,,"],
    "parts": ["set/sad/0.png,sad,dawn,,,,"],
    "boxes": ["set/sad/0.png,sad,train,1,2,3,"],
    "names": ["set/sad/0.png,glad,train,,,,"],
    "twice": ["set/sad/0.png,sad,,,,,", "set/sad/0.png,happy,,,,,"],
  }.items():
    header = "path,label,part,left,top,right,bottom"
    text = "\n".join([header, *lines])
    (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
  with pytest.raises(UserError, match=message) as caught:
    clean(run, *arguments)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "kept.csv").exists()


def test_clips_in_a_folder_need_the_name_of_their_corpus(listening, pictures):
  with pytest.raises(UserError, match="name its corpus by --corpus="):
    clean(listening, pictures)


def test_pixels_in_a_table_are_no_files(run, tmp_path):
  pixels = " ".join(["0", "255"] * 1152)
  text = f"emotion,pixels,Usage\n3,{pixels},Training\n"
  (tmp_path / "fer2013.csv").write_text(text, encoding="utf-8")
  with pytest.raises(UserError, match="save them as images first"):
    clean(run, str(tmp_path), "--corpus=fer2013")


def test_a_run_without_a_selector(run, pictures, tmp_path):
  copy = make_run(tmp_path / "copy")
  for name in selectors.FILES:
    (copy / "model" / name).unlink()
  with pytest.raises(UserError, match="has no selector"):
    clean(copy, pictures)
  with pytest.raises(UserError, match="no finished run"):
    clean(tmp_path / "nothing", pictures)


def write_judged(run, **changes):
  """Leaves a run what RLPS-S made of four clips, instead of a selector."""
  for name in selectors.FILES:
    (run / "model" / name).unlink()
  predicted = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
  known = {
    "name": ["0.wav", "1.wav", "5.wav", "5.wav 0.1-0.35"],
    "label": [0, 1, 1, 1],
    "labels": "happy,sad",
    "retained": [True, False, True, False],
    "probability": [0.8, 0.1, 0.7, 0.2],
    "log_probability": np.log(predicted),
    **changes,
  }
  np.savez(run / selectors.JUDGED, **known)
  return run


def test_what_rlps_s_made_of_its_training_set(tmp_path, clips):
  """Whole files and segments are told apart; other rows stay unjudged."""
  run = write_judged(make_run(tmp_path / "run", SPEECH))
  clean(run, clips)
  kept, removed = read("kept.csv"), read("kept-removed.csv")
  assert [(row["path"], row["start"], row["rank"]) for row in kept] == [
    *[("0.wav", "", "1"), ("2.wav", "", ""), ("3.wav", "", "")],
    *[("4.wav", "", ""), ("5.wav", "", "2")],
  ]
  assert [(row["path"], row["start"], row["rank"]) for row in removed] == [
    *[("1.wav", "", "4"), ("5.wav", "0.1", "3")]
  ]
  assert removed[0]["predicted"] == "happy"
  assert removed[0]["label_probability"] == "0.200000"
  assert removed[0]["reason"] == "stays with 10.0 %, below 50 %"
  assert os.path.exists("kept-worst.png")


def test_rlps_s_judges_no_other_training_set(tmp_path, clips, caplog):
  run = write_judged(make_run(tmp_path / "run", SPEECH), label=[0, 0, 1, 1])
  clean(run, clips)
  assert "1 of 4 examples that the run was trained on are not" in caplog.text
  assert len(read("kept-removed.csv")) == 1
  np.savez(run / selectors.JUDGED, name=["0.wav"])
  with pytest.raises(UserError, match=r"judged.npz: damaged .* train it again"):
    clean(run, clips)
  other = write_judged(make_run(tmp_path / "other", SPEECH), name=list("abcd"))
  with pytest.raises(UserError, match=r"4 of 4 .* RLPS-S judges no others"):
    clean(other, clips)


@pytest.mark.parametrize(
  "changes",
  [
    {"kind": "faces"},
    {"labels": "happy,angry"},
    {"labels": "__import__('os')"},
    {"widths": [7]},
    {"widths": ["a"]},
    {"key": [1]},
    {"key": [-1, 2]},
    {"key": [1.5, 2]},
    {"retention_floor": 2},
    {"batch_size": 0},
    {"batch_size": 10**9},
    {"classifier": {"kind": "conversations"}},
    {"classifier": "faces"},
    {"more": 1},
  ],
  ids=str,
)
def test_a_tampered_description(tmp_path, pictures, changes):
  copy = make_run(tmp_path / "copy")
  path = copy / "model" / "selector.json"
  fields = json.loads(path.read_text(encoding="utf-8")) | changes
  path.write_text(json.dumps(fields), encoding="utf-8")
  with pytest.raises(UserError, match=r"selector.*train it again") as caught:
    clean(copy, pictures)
  assert "\n" not in str(caught.value)


def test_tampered_weights(tmp_path, pictures):
  copy = make_run(tmp_path / "copy")
  path = copy / "model" / "selector.safetensors"
  weights = tensors.load(path)
  weights["policy"]["output"]["bias"][:] = np.inf
  tensors.save(path, weights)
  with pytest.raises(UserError, match="policy/output/bias is NaN or inf"):
    clean(copy, pictures)
  path.write_bytes(b"\x80\x04cos\nsystem\n")
  with pytest.raises(UserError, match=r"selector\.safetensors: damaged"):
    clean(copy, pictures)
