"""Runs as jobs of Procrastinate: one job for each run, so that workers of several machines take them."""
