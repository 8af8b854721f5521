"""An app whose nodes count their effects in a table of their own; the processes under test install it."""
