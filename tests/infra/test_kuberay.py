"""The manifests of infra/kuberay, as kustomize renders them, against the schemas of what they are for."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from command_lines import understood
from dockerfile import lineage
from jsonschema import Draft202012Validator
from ray.scripts.scripts import cli as ray_cli

from geoseg.config.text import read_mapping

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "infra" / "kuberay"
OVERLAYS = ("cluster", "cluster-object-storage", "job", "job-object-storage")
RAY_SCHEMA = json.loads((Path(__file__).parent / "ray_crds.json").read_text())
PART_OF = {"app.kubernetes.io/part-of": "geoseg"}
TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def closed(*required: str, **properties: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


DURATION = {"type": "string", "pattern": r"^(\d+(ms|[smhdwy]))+$"}
MONITORING = {
    "PodMonitor": closed(
        "selector",
        "podMetricsEndpoints",
        selector=closed(matchLabels=TEXTS),
        podTargetLabels=listed(TEXT),
        podMetricsEndpoints=listed(closed("port", port=TEXT, interval=DURATION)),
    ),
    "PrometheusRule": closed(
        "groups",
        groups=listed(
            closed(
                "name",
                name=TEXT,
                rules=listed(
                    closed("expr", alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS, **{"for": DURATION})
                ),
            )
        ),
    ),
}
"""What these manifests use of monitoring.coreos.com/v1, as the Prometheus operator's definitions have it."""


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """The documents that `kubectl apply -k` would send."""
    for tool in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(tool[0]) is not None:
            done = subprocess.run([*tool, str(KUBERAY / overlay)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert not done.stderr, done.stderr  # what is deprecated is said there
            return tuple(yaml.safe_load_all(done.stdout))
    pytest.skip("expected kubectl or kustomize (on Debian 13: apt-get install kustomize)")


def the(kind: str, overlay: str = "cluster") -> dict[str, Any]:
    (one,) = [document for document in rendered(overlay) if document["kind"] == kind]
    return one


def cluster_spec(overlay: str) -> dict[str, Any]:
    if overlay.startswith("job"):
        return the("RayJob", overlay)["spec"]["rayClusterSpec"]
    return the("RayCluster", overlay)["spec"]


def nodes(overlay: str) -> dict[str, dict[str, Any]]:
    """Pod templates of the Ray nodes, by the name of their group."""
    spec = cluster_spec(overlay)
    return {"head": spec["headGroupSpec"]["template"]} | {
        group["groupName"]: group["template"] for group in spec["workerGroupSpecs"]
    }


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """All pod templates."""
    own = nodes(overlay)
    if overlay.startswith("job"):
        own["submitter"] = the("RayJob", overlay)["spec"]["submitterPodTemplate"]
    return own


def values(thing: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # YAML
    """Every key with its value, however deep."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield key, value
            yield from values(value)
    elif isinstance(thing, list):
        for one in thing:
            yield from values(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_what_its_kind_is(overlay: str) -> None:
    for document in rendered(overlay):
        group, kind = document["apiVersion"].rpartition("/")[0], document["kind"]
        match group:
            case "ray.io":
                schema = {**RAY_SCHEMA, "$ref": f"#/$defs/{kind}"}
                Draft202012Validator(schema).validate(document["spec"])
            case "monitoring.coreos.com":
                Draft202012Validator(MONITORING[kind]).validate(document["spec"])
            case _:
                kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        assert document["metadata"].get("namespace", "geoseg") == "geoseg"
    for template in pods(overlay).values():
        wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": template}
        kubernetes_validate.validate(wrapped, kubernetes_validate.latest_version(), strict=True)


def test_the_schemas_refuse_what_ray_would() -> None:
    spec = json.loads(json.dumps(cluster_spec("cluster")))
    schema = Draft202012Validator({**RAY_SCHEMA, "$ref": "#/$defs/RayCluster"})
    assert schema.is_valid(spec)
    changes: tuple[dict[str, Any], ...]
    changes = ({"authOptions": {"mode": "none"}}, {"autoscaling": True}, {"workerGroupSpecs": [{}]})
    for change in changes:
        assert not schema.is_valid(spec | change), change


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nodes_come_for_work_and_go(overlay: str) -> None:
    spec = cluster_spec(overlay)
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["rayVersion"] == version("ray")
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        words = [f"--{name}={value}" for name, value in group["rayStartParams"].items()]
        assert understood(ray_cli, ["start", "--head", *words])["object_store_memory"] < 2**30  # /dev/shm
    limits = {name: pod["spec"]["containers"][0]["resources"]["limits"] for name, pod in nodes(overlay).items()}
    assert {name for name, has in limits.items() if "nvidia.com/gpu" in has} == {"gpu"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_what_they_ask_for_and_no_rights(overlay: str) -> None:
    for document in (*pods(overlay).values(), cluster_spec(overlay)["autoscalerOptions"]):
        for key, value in values(document):
            if key == "resources":
                assert value["requests"] == value["limits"]
    for name, pod in pods(overlay).items():
        assert pod["metadata"]["labels"] == PART_OF, name
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert ("ARG", f"UID={spec['securityContext']['runAsUser']}") in lineage("cpu")
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert re.fullmatch(r"registry\.example\.org/geoseg:0\.1\.0-(cpu|cuda)", container["image"])
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        # Only the autoscaler talks to the API server.
        assert spec["automountServiceAccountToken"] == (name == "head")
        assert spec["serviceAccountName"] == ("geoseg-head" if name == "head" else "geoseg-worker")
    assert "Role" not in {document["kind"] for document in rendered(overlay)}
    accounts = {d["metadata"]["name"] for d in rendered(overlay) if d["kind"] == "ServiceAccount"}
    assert accounts == {"geoseg-head", "geoseg-worker"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nodes_share_files_have_shared_memory_and_end_in_order(overlay: str) -> None:
    claims = {d["metadata"]["name"]: d["spec"] for d in rendered(overlay) if d["kind"] == "PersistentVolumeClaim"}
    for pod in nodes(overlay).values():
        spec = pod["spec"]
        (container,) = spec["containers"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        places = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert places["/dev/shm"]["emptyDir"]["medium"] == "Memory"  # noqa: S108  # where it is
        claim = claims[places["/mnt/geoseg"]["persistentVolumeClaim"]["claimName"]]
        assert claim["accessModes"] == ["ReadWriteMany"]
        stop = container["lifecycle"]["preStop"]["exec"]["command"]
        assert stop[0] == "ray"
        assert understood(ray_cli, stop[1:])["grace_period"] < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_strangers_are_kept_out(overlay: str) -> None:
    assert cluster_spec(overlay)["authOptions"] == {"mode": "token"}
    own, metrics = (d["spec"] for d in rendered(overlay) if d["kind"] == "NetworkPolicy")
    everyone = [{"podSelector": {"matchLabels": PART_OF}}]
    assert own["podSelector"] == metrics["podSelector"] == everyone[0]["podSelector"]
    assert set(own["policyTypes"]) == {"Ingress", "Egress"}
    # All ports are for the cluster's own pods; others get to the ports that are named.
    open_to_all = [rule for rule in own["ingress"] if "ports" not in rule]
    assert open_to_all == [{"from": everyone}]
    named = {p["port"]: rule["from"] for rule in own["ingress"] + metrics["ingress"] for p in rule.get("ports", ())}
    assert set(named) == {8265, 8080, 44217}
    assert all(rule["from"] for rule in own["ingress"] + metrics["ingress"])
    (operator,) = named[8265]
    assert operator["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_manifest_holds_a_secret(overlay: str) -> None:
    assert "Secret" not in {document["kind"] for document in rendered(overlay)}
    names = [value for document in rendered(overlay) for key, value in values(document) if key == "secretRef"]
    wanted = [{"name": "geoseg-object-storage"}] * len(nodes(overlay)) if overlay.endswith("object-storage") else []
    assert names == wanted
    keys = {key for document in rendered(overlay) for key, _ in values(document)}
    assert not {"env", "stringData", "RAY_AUTH_TOKEN"} & keys


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_finds_the_ports_that_are_named(overlay: str) -> None:
    monitor = the("PodMonitor", overlay)["spec"]
    assert monitor["selector"] == {"matchLabels": PART_OF}
    ports = {
        name: {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        for name, pod in nodes(overlay).items()
    }
    asked = {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]}
    assert asked <= ports["head"]
    assert all("metrics" in has for has in ports.values())


def test_the_job_runs_the_script_of_the_image_on_a_configuration_that_fits_the_nodes() -> None:
    job = the("RayJob", "job")["spec"]
    python, script, config = job["entrypoint"].split()
    assert python == "python"
    assert (ROOT / "jobs" / Path(script).name).is_file()
    assert ("COPY", "jobs /opt/jobs") in lineage("cpu")
    assert script.startswith("/opt/jobs/")
    head = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert {"name": "job", "mountPath": str(Path(config).parent), "readOnly": True} in head["containers"][0][
        "volumeMounts"
    ]
    (held,) = [
        d["data"] for d in rendered("job") if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "geoseg-job"
    ]
    assert held == {Path(config).name: (KUBERAY / "job/nodes/map.yaml").read_text()}
    assert job["shutdownAfterJobFinishes"]


def test_its_configuration_is_the_documented_one_and_fits_the_nodes() -> None:
    own = read_mapping(KUBERAY / "job/nodes/map.yaml")
    assert own == read_mapping(ROOT / "configs/map_cluster.yaml")
    (group,) = [group for group in cluster_spec("job")["workerGroupSpecs"] if group["groupName"] == "gpu"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert own["workers"] == group["maxReplicas"]
    assert own["threads_per_worker"] == int(limits["cpu"])
    assert own["memory"] / own["workers"] <= int(limits["memory"].removesuffix("Gi")) * 2**30 / 2
    assert own["output"].startswith(("/mnt/geoseg/", "s3://"))
