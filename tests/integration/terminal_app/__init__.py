"""An app whose node types do what a terminal has to cope with; commands that tests start install it."""
