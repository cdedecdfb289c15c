"""Dagster: recipes as asset graphs. Assets are thin: read, call, write, report."""
