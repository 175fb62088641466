"""Two workers on gloo against one that sees all their crops: the same gradient and weights, the same words."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributed, nn

from geoseg.config.losses import LossConfig
from geoseg.errors import ConfigError, GeosegError
from geoseg.labels import NODATA_CLASS
from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.checkpoint import Identity
from geoseg.train.fit import fit
from geoseg.train.freeze import Frozen
from geoseg.train.losses import build_loss
from geoseg.train.metrics import Confusion
from geoseg.train.recipe import Recipe
from geoseg.train.stepper import Stepper
from geoseg.train.stopping import Stop
from geoseg.train.team import ALONE, Team, synchronized

CPU = torch.device("cpu")
SIZE = 2
RECIPE = Recipe(batch=2, iterations=4, optimizer="sgd", lr=0.05, validate_every=2, clip_norm=1e3, ema=0.5)
LOSSES: tuple[dict[str, Any], ...] = (
    {"cross_entropy": 1},
    {"cross_entropy": 0, "dice": 1},
    {"cross_entropy": 0.5, "dice": {"weight": 1}, "focal": 0.5, "lovasz": 1},
    {"cross_entropy": 1, "heat": 20, "offset": 0.1},
)


class Normalized(nn.Module):
    """Two convolutions around a normalization by groups, or one whose batch statistics are frozen."""

    def __init__(self, groups: bool, dropout: float = 0.0, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, channels, 1)
        self.norm: nn.Module = nn.GroupNorm(2, 4) if groups else nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)
        self.groups = groups

    def train(self, mode: bool = True) -> "Normalized":
        super().train(mode)
        if not self.groups:
            self.norm.eval()
        return self

    def forward(self, images_nchw: Tensor) -> Tensor:
        answer: Tensor = self.last(self.dropout(torch.relu(self.norm(self.first(images_nchw)))))
        return answer


def batch(number: int) -> Batch:
    """Every other batch has labels everywhere, the others in a few places or nowhere."""
    rng = np.random.default_rng(number)
    images_nchw = rng.normal(size=(2, 1, 8, 8)).astype(np.float32)
    labels_nhw = (images_nchw[:, 0] > 0).astype(np.uint8) + (images_nchw[:, 0] > 1)
    heat_nhw, offset_nahw = rng.random((2, 8, 8), np.float32), rng.normal(0, 5, (2, 2, 8, 8)).astype(np.float32)
    if number % 2:
        few_nhw = rng.random(labels_nhw.shape) < 0.97
        labels_nhw[few_nhw] = NODATA_CLASS
        heat_nhw[few_nhw] = np.nan
        offset_nahw[np.stack([few_nhw, few_nhw], 1)] = np.nan
    names = f"left {number}", f"right {number}"
    return Batch(images_nchw, labels_nhw.astype(np.uint8), names, heat_nhw=heat_nhw, offset_nahw=offset_nahw)


def poisoned(number: int) -> Batch:
    """The second worker's first crop of the second iteration is broken."""
    made = batch(number)
    if number == 3:
        made.images_nchw[0, 0, 0, 0] = np.nan
    return made


def gradients(team: Team, terms: dict[str, Any], groups: bool, accumulate: int, first: int = 0) -> list[float]:
    """Loss and gradient of an iteration, in one row."""
    instances = "heat" in terms
    network = Normalized(groups, channels=6 if instances else 3)
    loss, candidates = build_loss(LossConfig.model_validate(terms), 3, instances=instances), Candidates.of(3)
    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    recipe = replace(RECIPE, accumulate=accumulate, clip_norm=None)
    stepper = Stepper(network, optimizer, scaler, None, Frozen(network, ()), loss, candidates, recipe, CPU, team)
    value = stepper.step([batch(first + team.number(mine, accumulate)) for mine in range(accumulate)], 1)
    found = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    return [value, *torch.cat(found).tolist()]


def trained(
    team: Team,
    folder: Path,
    recipe: Recipe,
    make: Callable[[int], Batch] = batch,
    stop_at: int | None = None,
    dropout: float = 0.0,
) -> list[float]:
    """All weights after a run, in one row; every worker validates on crops of its own."""
    network, stop = Normalized(groups=True, dropout=dropout), Stop()
    folder.mkdir(exist_ok=True, parents=True)

    def validate(model: nn.Module) -> Confusion:
        total = Confusion.zero(3)
        for number in range(100 + team.rank, 104, team.size):
            shown = batch(2 * number)
            model.eval()
            with torch.inference_mode():
                predicted_nhw = model(torch.from_numpy(shown.images_nchw)).argmax(1).numpy().astype(np.uint8)
            total += Confusion.of(shown.labels_nhw[0], predicted_nhw[0], 3)
        first, *others = team.gather(total)
        return sum(others, first)

    def report(step: Any) -> None:  # noqa: ANN401  # a Step
        # The second worker is asked as well, and does not decide.
        stop.asked = step.iteration == stop_at or not team.leads

    loss, candidates = build_loss(LossConfig(), 3), Candidates.of(3)
    progress = fit(
        network,
        make,
        validate,
        loss,
        candidates,
        recipe,
        folder,
        Identity("f"),
        ("a", "b", "c"),
        CPU,
        True,
        report,
        team,
        stop,
    )
    weights = torch.cat([tensor.flatten() for tensor in network.state_dict().values()]).tolist()
    return [progress.iteration, progress.best_miou, *progress.losses, *weights]


def everything(team: Team, folder: Path) -> dict[str, Any]:
    """What a worker of a team finds, all in one process: starting one takes seconds."""
    found: dict[str, Any] = {}
    for number, terms in enumerate(LOSSES):
        for groups in (True, False):
            for accumulate in (1, 3):
                found[f"gradient {number} {groups} {accumulate}"] = gradients(team, terms, groups, accumulate)
    own = folder / f"worker-{team.rank}"
    found["plain"] = trained(team, own / "plain", RECIPE)
    # Where leader and others keep their files is one place here, as in a storage that all share.
    recipe, shared = replace(RECIPE, iterations=6, checkpoint_every=1), folder / f"shared-{team.size}"
    found["whole"] = trained(team, own / "whole", recipe, dropout=0.5)
    try:
        trained(team, shared, recipe, stop_at=3, dropout=0.5)
    except KeyboardInterrupt:
        found["stopped"] = True
    found["parts"] = trained(team, shared, recipe, dropout=0.5)
    try:
        trained(team, own / "poisoned", RECIPE, poisoned)
    except GeosegError as error:
        found["poisoned"] = str(error)
    found["led"] = team.led(team.rank == 0, team.rank == 1)
    statistics = nn.BatchNorm2d(2)
    mean = statistics.get_buffer("running_mean").fill_(team.rank)
    network = Normalized(groups=True)
    network.last.get_parameter("bias").data.fill_(team.rank)
    team.follow_statistics(statistics)
    team.follow(network)
    found["followed"] = [*mean.tolist(), *network.last.get_parameter("bias").tolist()]
    found["files"] = sorted(path.name for path in (own / "plain").iterdir())
    return found


def work(rank: int, folder: Path) -> None:
    """A worker's whole life; leaves what it found."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=SIZE)
    found = everything(Team.of_processes(), folder)
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    # Where both end at once on a busy machine, gloo's threads now and then abort the process that tears them down.
    os._exit(0)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two workers found."""
    folder = tmp_path_factory.mktemp("team")
    started = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(SIZE)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(SIZE)]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_the_gradient_of_two_workers_is_that_of_one_with_all_crops(
    workers: list[dict[str, Any]], number: int, groups: bool, accumulate: int
) -> None:
    alone = gradients(ALONE, LOSSES[number], groups, SIZE * accumulate)
    found = [one[f"gradient {number} {groups} {accumulate}"] for one in workers]
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0], alone, rtol=1e-5, atol=1e-6)
    assert np.abs(alone).max() > 0.01


def test_a_mean_of_what_each_worker_finds_would_be_another_gradient() -> None:
    """Since the second one's labels are few."""
    whole, *own = (gradients(ALONE, LOSSES[0], True, 2), *(gradients(ALONE, LOSSES[0], True, 1, n) for n in (0, 1)))
    assert np.abs(np.mean(own, axis=0) - whole).max() > 1e-3


def test_two_workers_train_as_one_with_twice_the_batches(workers: list[dict[str, Any]], tmp_path: Path) -> None:
    alone = trained(ALONE, tmp_path, replace(RECIPE, accumulate=SIZE))
    for one in workers:
        np.testing.assert_allclose(one["plain"], alone, rtol=1e-4, atol=1e-5)
    assert workers[0]["plain"] == workers[1]["plain"]
    assert workers[0]["files"] == ["best.pt", "last.pt", "log.csv"]
    assert workers[1]["files"] == []


def test_a_team_that_was_stopped_goes_on_as_if_nothing_had_happened(workers: list[dict[str, Any]]) -> None:
    for one in workers:
        assert one["stopped"]
        assert one["parts"] == one["whole"]
    assert workers[0]["parts"] == workers[1]["parts"]


def test_a_loss_that_is_not_finite_stops_all_and_names_the_crop(workers: list[dict[str, Any]]) -> None:
    for one in workers:
        assert "got nan at iteration 2: the image of left 3 holds values that are no numbers" in one["poisoned"]


def test_the_leader_decides_and_is_followed(workers: list[dict[str, Any]]) -> None:
    for one in workers:
        assert one["led"] == [True, False]
        assert one["followed"] == [0.0] * 5


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_all_batches_of_an_iteration_are_dealt_once(size: int, each: int, iteration: int) -> None:
    dealt = [
        Team(rank, size).number(iteration * each + place, each) for rank in range(size) for place in range(each)
    ]
    first = iteration * each * size
    assert dealt == list(range(first, first + each * size))


def test_alone_nothing_is_asked_of_anybody() -> None:
    tensor = torch.ones(2)
    assert ALONE.sum(tensor) is tensor
    assert ALONE.gather("fact") == ["fact"]
    assert ALONE.led(True, False) == (True, False)
    assert Team.of_processes() == ALONE


def test_synchronized_statistics_are_refused_without_cuda(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a CUDA device for training\.sync_batch_norm, got cpu"):
        trained(ALONE, tmp_path, replace(RECIPE, sync_batch_norm=True))
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    names = list(network.state_dict())
    converted = synchronized(network)
    assert [type(module) for module in converted.children()] == [nn.Conv2d, nn.SyncBatchNorm]
    assert list(converted.state_dict()) == names


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
