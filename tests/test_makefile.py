"""The quick start's makefile: what it would run, and which Pythons it takes."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin" if path is None else f"{path}:/usr/bin:/bin"}
    return subprocess.run(
        ["make", "--directory", str(ROOT), *arguments], check=False, capture_output=True, text=True, env=environment
    )


def test_torch_comes_from_the_index_asked_for_and_the_rest_from_the_usual_one(tmp_path: Path) -> None:
    said = make(
        "--dry-run", "--always-make", "demo", f"VENV={tmp_path}/venv", "TORCH_INDEX=https://torch.example/cpu"
    )
    installs = [line for line in said.stdout.splitlines() if "pip install" in line]
    pinned = next(
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
    )
    assert installs[0].endswith(f"--no-deps --index-url https://torch.example/cpu {pinned}")
    assert installs[1].endswith("--editable .")
    assert "--index-url" not in installs[1]


def test_other_pythons_are_refused_in_a_line(tmp_path: Path) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        fake = fakes / name
        fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.9 && exit 0\nexit 1\n')
        fake.chmod(0o755)
    said = make("demo", f"VENV={tmp_path}/venv", path=fakes)
    assert said.returncode != 0
    assert "geoseg needs Python 3.11, 3.12 or 3.13; found Python 3.9.9" in said.stderr
    assert not (tmp_path / "venv").exists()


def test_pins_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in lines
    assert all(len(line.split("==")) == 2 and not set(line) & set(" /@;:") for line in lines)
