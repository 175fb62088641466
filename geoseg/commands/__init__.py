"""The commands of geoseg, one a module."""
