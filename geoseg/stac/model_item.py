"""The Item of a model, in the terms of the MLM extension: what it expects, what it tells apart, whose it is."""

import base64
import math
import re
from typing import Any

import torch

from geoseg.models.architecture import Architecture, build
from geoseg.models.card import Card
from geoseg.models.weights import tensor_shapes
from geoseg.stac import fields
from geoseg.stac.moments import moments

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]")
"""What MLM takes for a model's name."""

_SPDX = re.compile(r"[\w.+-]+", re.ASCII)
"""What STAC takes for a licence's identifier."""

_VERSION = re.compile(r"\d+\.\d+\.\d+(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?", re.ASCII)

_FLOAT32_BYTES = 4


def model_item(card: Card) -> dict[str, Any]:
    """The Item, as JSON.

    It has no place and no date: a card says neither. The weights are named by what they are (a `ni:` address, RFC
    6920, with their sha256), not by where they happen to lie.

    Args:
        card: The card of the model's package.
    """
    tile_px, bands = card.tile.size_px, list(card.imagery.bands)
    stored = sum(math.prod(shape) for shape in tensor_shapes(card.architecture).values())
    name = card.name if _NAME.fullmatch(card.name) else f"{card.name}-model"
    properties = {
        **moments(()),
        "title": f"Model {card.name}",
        "description": card.description,
        "license": card.licence if _SPDX.fullmatch(card.licence) else "other",
        "bands": [{"name": band} for band in bands],
        "mlm:name": name,
        "mlm:architecture": card.architecture.name,
        "mlm:tasks": [_task(card)],
        "mlm:framework": "PyTorch",
        **_framework_version(card),
        "mlm:total_parameters": _parameters(card.architecture),
        "mlm:memory_size": stored * _FLOAT32_BYTES,
        **_pretrained(card),
        "mlm:hyperparameters": {
            "width": card.architecture.width,
            "output_stride": card.architecture.output_stride,
            "separable": card.architecture.separable,
            "decoder_stride": card.architecture.decoder_stride,
            "normalization": card.architecture.normalization,
            "instances": card.architecture.instances,
            "tile_overlap_px": card.tile.overlap_px,
        },
        "mlm:input": [
            {
                "name": "image",
                "description": f"{card.imagery.dtype} imagery of {card.imagery.ground_resolution_m:g} m, of any "
                "height and width; pixels without data are 0 after scaling",
                "bands": bands,
                "input": {
                    "shape": [-1, len(bands), tile_px, tile_px],
                    "dim_order": ["batch", "bands", "height", "width"],
                    "data_type": "float32",
                },
                "value_scaling": [
                    {"type": "z-score", "mean": mean, "stddev": std}
                    for mean, std in zip(card.imagery.mean, card.imagery.std, strict=True)
                ],
            }
        ],
        "mlm:output": [
            {
                "name": "logits",
                "description": f"{card.activation} gives the probability of each class{_of_instances(card)}",
                "tasks": [_task(card)],
                "result": {
                    "shape": [-1, card.architecture.channels, tile_px, tile_px],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": fields.classes_of(card.labels, nodata=False),
            }
        ],
        "geoseg:identity": card.identity,
        "geoseg:value_range": list(card.imagery.value_range),
        "geoseg:ground_resolution_m": card.imagery.ground_resolution_m,
        "geoseg:licence": card.licence,
        "geoseg:attribution": list(card.attribution),
        "geoseg:metrics": {split: metrics.model_dump(mode="json") for split, metrics in card.metrics.items()},
        "geoseg:training": card.training,
    }
    return {
        "type": "Feature",
        "stac_version": fields.STAC_VERSION,
        "stac_extensions": [fields.CLASSIFICATION, fields.FILE, fields.MLM],
        "id": f"{card.name}-{card.identity}",
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {
            "weights": {
                "href": _by_hash(card.weights.sha256),
                "title": f"Weights ({card.weights.dtype}), named by their sha256",
                "type": "application/octet-stream; application=safetensors",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                "file:checksum": fields.multihash(card.weights.sha256),
                "file:size": card.weights.bytes,
                "bands": [{"name": band} for band in bands],
            }
        },
    }


def _task(card: Card) -> str:
    return "panoptic-segmentation" if card.architecture.instances else "semantic-segmentation"


def _of_instances(card: Card) -> str:
    """What stands behind the classes."""
    if not card.architecture.instances:
        return ""
    return "; behind the classes: how much a pixel is an object's centre, and the way to its own, rows and columns"


def _parameters(architecture: Architecture) -> int:
    """How many numbers training changes, counted without allocating any of them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(architecture).parameters())


def _by_hash(sha256: str) -> str:
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
    return f"ni:///sha-256;{digest}"


def _framework_version(card: Card) -> dict[str, str]:
    """The torch that it was trained with, where its card says so."""
    version = card.training.get("torch")
    return {"mlm:framework_version": version} if isinstance(version, str) and _VERSION.fullmatch(version) else {}


def _pretrained(card: Card) -> dict[str, Any]:
    """What training began from, as far as `geoseg train` wrote it into the card."""
    match card.training:
        case {"encoder_weights": {"file": str(name)}}:
            return {"mlm:pretrained": True, "mlm:pretrained_source": name}
        case {"recipe": _}:
            return {"mlm:pretrained": False, "mlm:pretrained_source": None}
        case _:
            return {}
