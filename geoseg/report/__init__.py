"""Pictures and reports of a finished run."""
