"""Labels in the formats that people keep them in."""
