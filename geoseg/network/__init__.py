"""Roads as a network: centre-lines and the junctions between them, from a class mask, block by block."""
