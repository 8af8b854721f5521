"""The API of runs: what they are, starting and commanding them, and their event streams."""
