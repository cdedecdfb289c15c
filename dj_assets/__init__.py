"""Data-Juicer video recipes as partitioned Dagster assets: measure once, decide for free, never lose a row."""

__version__ = "0.1.0"
