"""Losses for dense labels of which not everything is known: terms, and their weighted sum."""

from geoseg.train.losses.build import build_loss
from geoseg.train.losses.total import Loss

__all__ = ["Loss", "build_loss"]
