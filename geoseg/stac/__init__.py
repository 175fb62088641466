"""A run and its model as STAC Items: what catalogues and QGIS learn of them without opening a file."""
