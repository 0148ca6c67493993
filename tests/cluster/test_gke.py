"""`gke.yaml`, read as JobSet would: nobody has run it."""

import pathlib

import pytest
import yaml

FILE = pathlib.Path(__file__).parents[2] / "experiments/cluster/gke.yaml"
SETS = {
  one["metadata"]["labels"]["accelerator"]: one
  for one in yaml.safe_load_all(FILE.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("accelerator", ["tpu", "gpu"])
def test_it_begins_anew_on_what_says_so_and_ends_on_all_else(accelerator):
  spec = SETS[accelerator]["spec"]
  (workers,) = spec["replicatedJobs"]
  job = workers["template"]["spec"]
  # A pod that fails ends the job, for this reason, or for that of the limit.
  disrupted, codes = job["podFailurePolicy"]["rules"]
  assert disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
  (container,) = job["template"]["spec"]["containers"]
  assert codes["onExitCodes"] == {
    "containerName": container["name"],
    "operator": "In",
    "values": [75, 143],
  }
  assert {rule["action"] for rule in (disrupted, codes)} == {"FailJob"}
  assert job["backoffLimit"] == 0
  assert job["template"]["spec"]["restartPolicy"] == "Never"
  again, end = spec["failurePolicy"]["rules"]
  assert again["action"] == "RestartJobSet"
  assert again["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert end["action"] == "FailJobSet"
  assert "onJobFailureReasons" not in end
  assert "--distributed" in container["args"]


def test_processes_of_gpus_know_the_first_one_and_how_many_they_are():
  """TPU pods are told by GKE."""
  jobs = SETS["gpu"]
  (workers,) = jobs["spec"]["replicatedJobs"]
  job = workers["template"]["spec"]
  (container,) = job["template"]["spec"]["containers"]
  given = dict(a.partition("=")[::2] for a in container["args"])
  name = jobs["metadata"]["name"]
  # Job, its number, the pod's; under the name of the set, as JobSet has it.
  first = f"{name}-{workers['name']}-0-0.{name}"
  assert jobs["spec"]["network"]["enableDNSHostnames"]
  assert given["--coordinator"].partition(":")[0] == first
  assert job["completionMode"] == "Indexed"
  assert given["--process_id"] == "$(JOB_COMPLETION_INDEX)"
  assert int(given["--num_processes"]) == job["completions"]
  assert job["completions"] == job["parallelism"]
