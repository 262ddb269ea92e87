"""The files in deploy/ are what their programs accept.

Ray ships the schema of `ray up`. KubeRay's is not at hand here, so its files are checked against the documented fields
that they use. SLURM's script is parsed by bash, and its options are compared with the documented ones.
"""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray
from ruamel.yaml import YAML

DEPLOY = Path(__file__).parents[1] / "deploy"
SBATCH = {
    "job-name",
    "nodes",
    "ntasks-per-node",
    "gpus-per-node",
    "cpus-per-task",
    "time",
    "requeue",
    "open-mode",
    "signal",
}
POD = {"terminationGracePeriodSeconds", "containers", "volumes"}
CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def read(path: Path):
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_ray_up_accepts_the_cloud_clusters(name: str) -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    cluster = read(DEPLOY / "cloud" / f"{name}.yaml")
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    assert cluster["provider"]["type"] == name


@pytest.mark.parametrize(("name", "kind"), [("rayjob", "RayJob"), ("raycluster", "RayCluster")])
def test_kuberay_knows_every_field(name: str, kind: str) -> None:
    resource = read(DEPLOY / "kubernetes" / f"{name}.yaml")
    assert (resource["apiVersion"], resource["kind"]) == ("ray.io/v1", kind)
    spec = resource["spec"]
    if kind == "RayJob":
        assert set(spec) == {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "rayClusterSpec"}
        assert "--or-resume" in spec["entrypoint"], "a job that is started again must resume"
        spec = spec["rayClusterSpec"]
    assert set(spec) == CLUSTER
    assert spec["rayVersion"] == ray.__version__
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group) <= GROUP
        assert set(group["template"]["spec"]) <= POD
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_bash_and_slurm_can_read_the_batch_script() -> None:
    script = DEPLOY / "slurm" / "search.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    options = re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)
    assert set(options) == SBATCH
    assert "--or-resume" in text
    assert "scontrol requeue" in text


def test_the_images_install_extras_that_exist() -> None:
    project = (DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    for image in (DEPLOY / "docker").glob("*.Dockerfile"):
        text = image.read_text(encoding="utf-8")
        (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", text)
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"{image.name} asks for {extra}"
        for copied in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
            assert all((DEPLOY.parent / name).exists() for name in copied.split())
