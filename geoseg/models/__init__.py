"""Segmentation networks in plain PyTorch, and the package that carries a trained one."""
