"""infra/README.md says only what is so: commands, paths, messages, exit codes, ports, figures."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from command_lines import understood
from dockerfile import stages
from ray.scripts.scripts import cli as ray_cli

from geoseg.cli import cli

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "infra/README.md").read_text()
RESULTS = (ROOT / "tests/benchmarks/RESULTS.md").read_text()
MANIFESTS = [path.read_text() for path in (ROOT / "infra").rglob("*.yaml")]
COMMANDS = [
    line.split("    #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]


def section(title: str) -> str:
    return re.split(r"^## ", GUIDE.split(f"\n## {title}")[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(title: str, first: str) -> list[list[str]]:
    """The cells of the table of a section whose first column is called so, without its head."""
    table = section(title).split(f"\n| {first} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def names_of(kind: str) -> set[str]:
    documents = [one for text in MANIFESTS for one in yaml.safe_load_all(text)]
    return {one["metadata"]["name"] for one in documents if one.get("kind") == kind}


def check_kubectl(words: list[str]) -> None:
    """Look up what a kubectl command names, since there is no cluster to ask."""
    match words:
        case ["apply", "-k", folder]:  # which test_kuberay renders
            assert (ROOT / folder / "kustomization.yaml").is_file()
        case ["create", "secret", "generic", name, "-n", "geoseg", "--from-env-file=credentials.env"]:
            assert any(f"secretRef: {{name: {name}}}" in text for text in MANIFESTS)
        case ["port-forward", "-n", "geoseg", service, "8265:8265"]:
            assert service == f"service/{names_of('RayCluster').pop()}-head-svc"  # as KubeRay calls it
        case ["get", "secret", name, "-n", "geoseg", "-o", _]:
            assert name in names_of("RayCluster")  # KubeRay gives the token's Secret its name
        case ["logs", "-n", "geoseg", job]:
            assert job.removeprefix("job/") in names_of("RayJob")  # likewise the job that submits
        case ["get", "rayjob,raycluster,pods", "-n", "geoseg"]:
            assert names_of("Namespace") == {"geoseg"}
        case other:
            pytest.fail(f"expected a command that is checked here, got kubectl {other}")


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    match shlex.split(line):
        case ["geoseg", *words]:
            understood(cli, words)
        case ["ray", *words]:
            said = understood(ray_cli, words)
            assert (ROOT / said.get("cluster_config_file", "infra")).exists()
            assert all((ROOT / word).is_file() for word in words if word.endswith((".py", ".yaml")))
        case ["docker", "build", "-f", file, "--target", target, "-t", tag, "."]:
            assert (ROOT / file).is_file()
            assert target in stages()
            assert tag == f"geoseg:{target}"
        case ["docker", "compose", "-f", file, "up", "--build", "--detach"]:
            assert (ROOT / file).is_file()
        case ["kubectl", *words]:
            check_kubectl(words)
        case other:
            pytest.fail(f"expected a command that is checked here, got {other}")


def test_there_are_commands() -> None:
    assert {line.split()[0] for line in COMMANDS} == {"geoseg", "ray", "docker", "kubectl"}


def test_paths_exist() -> None:
    named = re.findall(r"`((?:docker|kuberay|ray|grafana|tests|configs|jobs)/[\w./-]*)`", GUIDE)
    assert named
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "infra" / path).exists(), path


@pytest.mark.parametrize("says", [row[0].strip("`") for row in rows("When something fails", "it says")])
def test_messages_are_geosegs(says: str) -> None:
    assert any(says in path.read_text() for path in (ROOT / "geoseg").rglob("*.py"))


def test_every_exit_code_is_there() -> None:
    told = {int(row[0]) for row in rows("When something fails", "code")}
    readme = (ROOT / "README.md").read_text().split("Exit codes:")[1].split("after 1,")[0]
    assert told == {int(code) for code in re.findall(r"(?:^|, )(\d+) ", readme.replace("\n", " ").strip())}


def test_every_port_is_there() -> None:
    told = {int(number) for row in rows("Tokens and ports", "port") for number in re.findall(r"\d+", row[0])}
    named = re.findall(r"(?:containerPort|port): (\d+)", "\n".join(MANIFESTS))
    assert told == {int(number) for number in named} - {53, 443, 6443}  # which pods reach elsewhere


def test_measured_figures_are_those_of_the_benchmarks() -> None:
    for _, said, title in rows("Sizing", "what"):
        part = "".join(re.findall(rf"^## {title}.*?(?=^## |\Z)", RESULTS, re.DOTALL | re.MULTILINE))
        assert part, title
        for figure in re.findall(r"\d+\.\d+|\d+(?= MiB)", said):
            assert figure in part, (title, figure)


def test_the_cost_is_what_the_formula_gives() -> None:
    megapixels = 1000 * 1e6 / 0.5**2 / 1e6
    rate = float(re.findall(r"\| \(b\).*\| ([\d.]+) \|", RESULTS)[1])  # with two workers
    mosaic_s, all_s = (float(re.search(rf"\| {what} \| ([\d.]+) ", RESULTS)[1]) for what in ("mosaic", "all"))  # type: ignore[index]
    after = round((all_s / mosaic_s - 1) * 2 / rate, 3)
    assert f"{after} CPU seconds" in GUIDE
    table = rows("Cost of 1,000 km2 at 0.5 m", "node")
    assert {"measured", "assumed"} == {row[0].split()[-1] for row in table}
    for name, *said in table:
        cpus, own, price, mosaic, rest, hours, usd = map(float, said)
        assert own == rate or name.endswith("assumed")
        assert round(megapixels / own) == mosaic
        assert round(megapixels * after / cpus) == rest
        assert round((mosaic + rest) / 3600, 2) == hours
        assert round((mosaic + rest) / 3600 * price, 2) == usd
