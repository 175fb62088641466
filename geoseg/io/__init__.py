"""The only doors to files: rasters in, mosaics and layers out."""
