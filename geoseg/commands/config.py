"""`geoseg config`: what configurations may say."""

import json

import click

from geoseg.config.evaluate import EvaluateConfig
from geoseg.config.export import ExportConfig
from geoseg.config.map import MapConfig
from geoseg.config.sections import Section
from geoseg.config.study import StudyConfig
from geoseg.config.train import TrainConfig

_KINDS: dict[str, type[Section]] = {
    "evaluate": EvaluateConfig,
    "export": ExportConfig,
    "map": MapConfig,
    "study": StudyConfig,
    "train": TrainConfig,
}


@click.group("config", context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """What configurations may say."""


@config.command("schema")
@click.argument("kind", type=click.Choice(list(_KINDS)))
def schema(kind: str) -> None:
    """Print the JSON Schema of configurations of a KIND, for editors: keys, values, and what they mean.

    With the YAML extension of many editors a first line `# yaml-language-server: $schema=FILE` is enough to be
    shown what may stand where.
    """
    whole = _KINDS[kind]
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole.model_json_schema(),
        "title": f"geoseg {kind}",
    }
    click.echo(json.dumps(document, indent=2))
