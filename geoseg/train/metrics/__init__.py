"""How well a model does: counts that windows add up to exactly, figures from them, and how far to trust these."""

from geoseg.train.metrics.confusion import Confusion

__all__ = ["Confusion"]
