"""A run in a terminal: what of it is shown, and how, and what the signals of a terminal do to it."""
