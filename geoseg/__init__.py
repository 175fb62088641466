"""Maps from imagery: tiling, distributed inference, stitching and vectorizing of large rasters."""

__version__ = "0.1.0"
