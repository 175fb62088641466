"""Configuration files: YAML in, checked and frozen values out, with errors that name the key."""

from geoseg.config.train import TrainConfig, load_train_config, write_config

__all__ = ["TrainConfig", "load_train_config", "write_config"]
