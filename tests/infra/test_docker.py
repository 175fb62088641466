"""The image and the Compose cluster: linted, and what they promise looked up."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_lines import understood
from dockerfile import lineage, stages
from ray.scripts.scripts import cli as ray_cli

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def tool(name: str) -> str:
    """A command that was installed beside this Python."""
    path = shutil.which(name, path=str(Path(sys.executable).parent))
    assert path is not None, f"expected {name} beside {sys.executable}: pip install -e '.[dev]'"
    return path


def run(*words: str) -> None:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    run(tool("hadolint"), "--failure-threshold", "style", str(DOCKER / "Dockerfile"))


def test_compose_is_by_its_schema() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml"))


def test_images_stand_on_one_pinned_python() -> None:
    bases = {value.split(" AS ")[0] for steps in stages().values() for _, value in steps[:1]} - set(stages())
    (base,) = bases
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", base)


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_runs_as_nobody_special_and_tells_its_health(target: str) -> None:
    steps = lineage(target)
    values = {instruction: value for instruction, value in steps if instruction != "RUN"}
    assert values["USER"] == "$UID"
    assert ("ARG", "UID=1000") in steps
    assert "/api/healthz" in values["HEALTHCHECK"]
    # What installs stays behind: the image has the packages, not the tools.
    assert values["COPY"] == f"--from={target}-packages /opt/geoseg /opt/geoseg"
    assert not [value for instruction, value in steps if instruction == "RUN" and "pip" in value]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_login_shells_find_ray(target: str, tmp_path: Path) -> None:
    """KubeRay starts Ray by bash -l, whose /etc/profile sets PATH anew, then reads /etc/profile.d."""
    (told,) = [value for instruction, value in lineage(target) if instruction == "RUN" and "profile.d" in value]
    profile = tmp_path / "geoseg.sh"
    command = told.replace("/etc/profile.d/geoseg.sh", str(profile))
    subprocess.run(
        ["sh", "-ec", command], check=True, env={"VIRTUAL_ENV": "/opt/geoseg", "PATH": os.environ["PATH"]}
    )
    shell = ["sh", "-c", f". {profile}; echo $PATH"]
    done = subprocess.run(shell, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert done.stdout == "/opt/geoseg/bin:/usr/bin:/bin\n"


def test_packages_are_the_pinned_ones() -> None:
    for target in ("wheel", "cpu-packages", "cuda-packages"):
        steps = lineage(target)
        (environment,) = [value for instruction, value in steps if instruction == "ENV" and "PIP_" in value]
        assert "PIP_CONSTRAINT=/src/constraints.txt" in environment
        installs = [value for instruction, value in steps if instruction == "RUN" and "pip install" in value]
        assert all("constraints.txt" in value or "dist/" in value for value in installs)


def allowed(path: str, patterns: Sequence[str]) -> bool:
    """Whether Docker sends a path to who builds: the last pattern that matches it or a folder of it decides."""
    sent = True
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if any(fnmatch(str(part), bare.removeprefix("**/")) for part in (Path(path), *Path(path).parents)):
            sent = pattern.startswith("!")
    return sent


def test_what_is_copied_is_sent_and_nothing_else_is() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    copied = [
        name
        for steps in stages().values()
        for instruction, value in steps
        if instruction == "COPY" and not value.startswith("--from")
        for name in value.split()[:-1]
    ]
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    sent = {path.name for path in ROOT.iterdir() if allowed(path.name, patterns)}
    assert sent == set(copied)


def command_of(service: dict[str, Any]) -> dict[str, Any]:
    """What Ray understands of a service's command, its variables at their defaults."""
    words = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(word)) for word in service["command"]]
    assert words[:2] == ["ray", "start"]
    return understood(ray_cli, words[1:])


def test_nothing_but_the_dashboard_is_reached_and_from_this_machine_alone() -> None:
    assert [port for service in SERVICES.values() for port in service.get("ports", ())] == ["127.0.0.1:8265:8265"]


def test_a_head_without_work_and_two_workers() -> None:
    head, worker = SERVICES["head"], SERVICES["worker"]
    said = {name: command_of(service) for name, service in SERVICES.items()}
    assert said["head"]["head"]
    assert said["head"]["num_cpus"] == 0
    assert said["worker"]["address"] == f"head:{said['head']['port']}"
    assert said["worker"]["num_cpus"] == 2
    assert said["head"]["block"]
    assert said["worker"]["block"]
    assert head["ports"] == [f"127.0.0.1:8265:{said['head']['dashboard_port']}"]
    assert worker["deploy"]["replicas"] == 2
    assert worker["depends_on"]["head"]["condition"] == "service_healthy"


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_a_node_has_the_token_from_a_file_and_no_rights(service: dict[str, Any]) -> None:
    (secret,) = service["secrets"]
    assert service["environment"] == {"RAY_AUTH_TOKEN_PATH": f"/run/secrets/{secret}"}
    assert COMPOSE["secrets"][secret] == {"file": "${HOME}/.ray/auth_token"}
    assert ("ENV", "RAY_AUTH_MODE=token") in [(i, part.strip()) for i, v in lineage("cpu") for part in v.split()]
    assert service["cap_drop"] == ["ALL"]
    assert service["shm_size"] == "1gb"
    assert service["build"]["target"] == "cpu"
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
