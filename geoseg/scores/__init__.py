"""Scores of a run against a reference: areas, objects and road networks. No Ray, no model."""
