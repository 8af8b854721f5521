"""How the installation is doing, for its operator: the figures, what is wrong, and where both are shown."""
