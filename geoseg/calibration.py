"""A network calibrated on a split of a configuration: in training, and of a package that is there already."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from geoseg.config import TrainConfig, load_train_config
from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.labelled_data import coding_of, data_folder, refuse_other_classes, sources_of
from geoseg.labels import Activation
from geoseg.models.card import Calibration, Card, CardDraft
from geoseg.models.head import divide_logits
from geoseg.models.package import CARD_NAME, load_package, save_package
from geoseg.models.quality import SplitCalibration
from geoseg.predict import choose_device
from geoseg.report.model_readme import FAILURES_NAME, write_model_readme
from geoseg.threads import torch_threads
from geoseg.train.device import place
from geoseg.train.logits import LogitSample
from geoseg.train.metrics.calibration import BINS
from geoseg.train.scenes import Source, open_scenes
from geoseg.train.score import TileShape
from geoseg.train.temperature import calibration_error, fit_temperature


def calibrate_network(
    network: nn.Module,
    imagery: Imagery,
    config: TrainConfig,
    sources: Sequence[Source],
    splits: Sequence[str],
    device: torch.device,
    activation: Activation,
    *,
    overlapping: bool = False,
    shape: TileShape | None = None,
) -> Calibration:
    """Fit a temperature, fold it into the network, in place, and say what it did to the calibration error.

    It is fitted on a sample of the first split; the error before and after is that of a sample of each split: of
    single tiles, so that before and after cost one prediction and are of the same pixels. The error of whole maps,
    blended from tiles, is what an evaluation gives.

    Args:
        network: On the device.
        imagery: What it expects.
        config: Says what label values mean.
        sources: Its scenes, of any split.
        splits: What to measure; the first is what to fit on.
        device: Where the network is.
        activation: What makes probabilities of its logits.
        overlapping: Whether a pixel may be of several classes.
        shape: The network's tiles; as in training when not given.

    Raises:
        ConfigError: There is no source of a split, or nothing is labelled in the first.
        SceneError: A raster cannot be read.
    """
    coding, samples = coding_of(config, sources), {}
    for split in splits:
        chosen = [source for source in sources if source.split == split]
        if not chosen:
            raise ConfigError(f"expected data of split {split}, the configuration lists none")
        with open_scenes(chosen, imagery, coding) as scenes:
            samples[split] = LogitSample.of(
                network,
                scenes,
                shape or TileShape(),
                device,
                coding.candidates,
                activation,
                overlapping=overlapping,
            )
    fitted_on = splits[0]
    if not samples[fitted_on].pixels:
        raise ConfigError(f"expected labelled pixels in the regions of split {fitted_on}, found none")
    fitted = fit_temperature(samples[fitted_on])
    divide_logits(network, fitted.value)
    return Calibration(
        temperature=fitted.value,
        fitted_on=fitted_on,
        bins=BINS,
        splits={
            split: SplitCalibration(
                ece_before=calibration_error(sample),
                ece_after=calibration_error(sample, fitted.value),
                pixels=sample.pixels,
            )
            for split, sample in samples.items()
        },
        note=fitted.note,
    )


def calibrate_package(
    folder: Path,
    config_file: Path,
    split: str,
    output: Path,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
) -> Card:
    """Write a package anew, calibrated on labelled scenes.

    The card keeps its scores, which no temperature changes within a tile; its calibration errors, which are of the
    probabilities before, give way to those of the new calibration.

    Args:
        folder: The package; it stays as it is.
        config_file: Lists the scenes, labels and regions.
        split: The regions to calibrate on.
        output: Folder of the new package.
        data_root: Where the configuration's paths start.
        device: As `--device`.
        threads: CPU threads; all cores when not given.

    Returns:
        The new card.

    Raises:
        ConfigError: The configuration is wrong, its classes are not the model's, nothing is labelled, or the output
            is there already.
        ModelError: The package cannot be used, or the new one cannot be written.
        SceneError: A raster cannot be opened or used.
    """
    if (output / CARD_NAME).exists() or (output.exists() and not output.is_dir()):
        raise ConfigError(f"expected a new output, {output} is there already: choose another -o")
    config = load_train_config(config_file)
    model = load_package(folder)
    refuse_other_classes(config_file, config, model.labels)
    sources = sources_of(config, data_folder(data_root, config_file))
    card, chosen = model.card, torch.device(choose_device(device))
    network = place(model.build(), chosen)
    with torch_threads(threads):
        calibration = calibrate_network(
            network,
            model.imagery,
            config,
            sources,
            (split,),
            chosen,
            card.activation,
            overlapping=card.overlapping,
            shape=TileShape(card.tile.size_px, card.tile.overlap_px // 2),
        )
    said = {name: getattr(card, name) for name in CardDraft.model_fields}
    metrics = {name: one.model_copy(update={"ece": None}) for name, one in card.metrics.items()}
    draft = CardDraft(**{**said, "metrics": metrics, "calibration": calibration})
    packed = save_package(output, draft, network, card.weights.dtype)
    if (folder / FAILURES_NAME).is_file():
        shutil.copyfile(folder / FAILURES_NAME, output / FAILURES_NAME)
    write_model_readme(output, packed)
    return packed
