import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from geoseg.errors import ConfigError
from geoseg.train.checkpoint import (
    Identity,
    Progress,
    Stateful,
    load_best,
    load_checkpoint,
    save_best,
    save_checkpoint,
)

CPU = torch.device("cpu")
RUN = Identity("f")


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (str(self.path),))


def _touch(path: str) -> None:
    Path(path).touch()


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 2)
    return model, torch.optim.AdamW(model.parameters())


def parts(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Stateful]:
    return {"model": model, "optimizer": optimizer}


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, RUN, parts(*network()), CPU) is None
    with pytest.raises(ConfigError, match="there are none"):
        load_best(tmp_path, network()[0], CPU)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    model, optimizer = network()
    torch.autograd.backward(model(torch.ones(1, 2)).sum())
    optimizer.step()
    progress = Progress(7, 5, 0.25, validated=6, stale=1, losses=(0.1,))
    save_checkpoint(tmp_path, RUN, progress, parts(model, optimizer), CPU)
    drawn = torch.rand(3)
    other, other_optimizer = network()
    assert load_checkpoint(tmp_path, RUN, parts(other, other_optimizer), CPU) == progress
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(other.state_dict()["weight"], model.state_dict()["weight"])
    assert str(other_optimizer.state_dict()) == str(optimizer.state_dict())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path, RUN, parts(*network()), CPU)
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        load_best(tmp_path, network()[0], CPU)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    torch.save({"fingerprint": "f", "progress": Touch(trap)}, tmp_path / "last.pt")
    (tmp_path / "best.pt").write_bytes(pickle.dumps(Touch(trap)))
    with pytest.raises(ConfigError):
        load_checkpoint(tmp_path, RUN, parts(*network()), CPU)
    with pytest.raises(ConfigError):
        load_best(tmp_path, network()[0], CPU)
    assert not trap.exists()


def test_a_state_of_another_shape_is_refused(tmp_path: Path) -> None:
    save_best(tmp_path, nn.Linear(3, 2))
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(ConfigError):
        load_best(tmp_path, network()[0], CPU)
    with pytest.raises(ConfigError):
        load_checkpoint(tmp_path, RUN, parts(*network()), CPU)


def test_a_checkpoint_of_another_run_is_refused_and_another_architecture_named(tmp_path: Path) -> None:
    own, other = Identity("f", "unet_resnet18 width 0.5"), Identity("0", "unet width 1")
    save_checkpoint(tmp_path, other, Progress(), parts(*network()), CPU)
    words = (
        r"last\.pt belongs to a run of another architecture: expected unet_resnet18 width 0\.5, got unet width 1;"
    )
    with pytest.raises(ConfigError, match=words):
        load_checkpoint(tmp_path, own, parts(*network()), CPU)
    for unnamed in (Identity("f"), Identity("f", other.architecture)):
        with pytest.raises(ConfigError, match="another configuration or other data: expected f, got 0;"):
            load_checkpoint(tmp_path, unnamed, parts(*network()), CPU)


def test_saving_leaves_no_partial_file(tmp_path: Path) -> None:
    save_best(tmp_path, network()[0])
    save_best(tmp_path, network()[0])
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_a_checkpoint_of_an_older_version_stood_at_a_validation(tmp_path: Path) -> None:
    model, optimizer = network()
    save_checkpoint(tmp_path, RUN, Progress(), parts(model, optimizer), CPU)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    state["progress"] = {"iteration": 8, "best_iteration": 4, "best_miou": 0.5}
    torch.save(state, tmp_path / "last.pt")
    stood = load_checkpoint(tmp_path, RUN, parts(*network()), CPU)
    assert stood == Progress(8, 4, 0.5, validated=8)
