"""Features from objects: polygons, cleaned after the merge across borders."""
