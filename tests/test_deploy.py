"""The files in deploy/ are what their programs accept.

The cloud's go through what `ray up` does before it calls a cloud. KubeRay's schema is not at hand here, so its files
are checked against the documented fields that they use. SLURM's script is run by tests/cluster/test_slurm.py; here,
bash parses it, and its options are compared with the documented ones.
"""

import re
import subprocess
import tomllib
from pathlib import Path

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
DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
POD = {"terminationGracePeriodSeconds", "containers", "volumes"}
CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def read(path: Path):
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_ray_up_accepts_the_cloud_clusters(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = prepare_config(read(DEPLOY / "cloud" / f"{name}.yaml"))
    validate_config(cluster)
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}, "the head trains nothing"
    assert sum(row["max_workers"] for row in types.values()) == cluster["max_workers"]
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
    for image in DOCKERFILES:
        text = image.read_text(encoding="utf-8")
        (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", text)
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), f"{image.name} asks for {extra}"
        for copied in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
            assert all((DEPLOY.parent / name).exists() for name in copied.split())


def test_kubernetes_asks_for_images_that_are_built_here_and_commands_that_their_shell_can_read() -> None:
    built = set()
    for file in DOCKERFILES:
        text = file.read_text(encoding="utf-8")
        (tag,) = re.findall(rf"^# docker build -f deploy/docker/{file.name} -t (\S+) \.$", text, re.MULTILINE)
        built.add(tag)
        for command in re.findall(r"^RUN (.*)$", text, re.MULTILINE):
            subprocess.run(["sh", "-n", "-c", command], check=True)
    kubernetes = "".join(file.read_text(encoding="utf-8") for file in (DEPLOY / "kubernetes").glob("*.yaml"))
    assert set(re.findall(r"image: (\S+)", kubernetes)) == built == {"carsearch:cpu", "carsearch:cuda"}


def test_the_images_have_a_python_that_carsearch_supports() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for file in DOCKERFILES:
        (version,) = re.findall(r"^FROM python:(3\.\d+)-slim", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert f"Programming Language :: Python :: {version}" in project["classifiers"]
