"""infra/ray/cluster.yaml, as `ray up` reads it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import understood
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

ROOT = Path(__file__).parents[2]
CLUSTER = yaml.safe_load((ROOT / "infra/ray/cluster.yaml").read_text())
NODES = CLUSTER["available_node_types"]
WORKERS = {name: node for name, node in NODES.items() if name != CLUSTER["head_node_type"]}
TOKEN = "~/.ray/auth_token"  # noqa: S105  # where it lies


def as_ray_reads(cluster: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def test_ray_takes_it_as_it_is_written() -> None:
    prepared = as_ray_reads(CLUSTER)
    assert {key: prepared[key] for key in ("initialization_commands", "docker", "provider", "file_mounts")} == {
        key: CLUSTER[key] for key in ("initialization_commands", "docker", "provider", "file_mounts")
    }
    with pytest.raises(ValidationError, match="spot"):
        as_ray_reads(CLUSTER | {"spot": True})


def test_workers_are_spot_and_come_for_work() -> None:
    for node in WORKERS.values():
        assert node["min_workers"] == 0 < node["max_workers"] <= CLUSTER["max_workers"]
        assert node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    head = NODES[CLUSTER["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert {name for name, node in NODES.items() if "GPU" in node["resources"]} == {"gpu"}


def test_images_fit_the_machines() -> None:
    docker = CLUSTER["docker"]
    images = {
        name: node.get("docker", {}).get("worker_image", docker["worker_image"]) for name, node in WORKERS.items()
    }
    images["head"] = docker["head_image"]
    assert {name: image.rpartition("-")[2] for name, image in images.items()} == {
        name: "cuda" if name == "gpu" else "cpu" for name in images
    }


def test_strangers_are_kept_out() -> None:
    assert "--env RAY_AUTH_MODE=token" in CLUSTER["docker"]["run_options"]
    assert CLUSTER["file_mounts"] == {TOKEN: TOKEN}
    assert f"chmod 600 {TOKEN}" in CLUSTER["setup_commands"]


def test_ray_understands_how_its_nodes_are_started() -> None:
    stop, head = CLUSTER["head_start_ray_commands"]
    assert [stop] == CLUSTER["worker_start_ray_commands"][:-1] == ["ray stop"]
    said = understood(ray_cli, head.split()[1:])
    assert said["head"]
    assert said["num_cpus"] == 0
    assert said["dashboard_host"] == "127.0.0.1"
    worker = understood(ray_cli, CLUSTER["worker_start_ray_commands"][-1].split()[1:])
    assert worker["address"] == f"$RAY_HEAD_IP:{said['port']}"


def test_runs_lie_where_all_nodes_see_them() -> None:
    assert "--volume /mnt/geoseg:/mnt/geoseg" in CLUSTER["docker"]["run_options"]
    assert any(line.endswith(":/ /mnt/geoseg") for line in CLUSTER["initialization_commands"])
