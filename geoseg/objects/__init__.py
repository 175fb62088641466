"""Objects from class masks: connected components, joined across block borders."""
