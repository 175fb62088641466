"""Training on labelled scenes."""
