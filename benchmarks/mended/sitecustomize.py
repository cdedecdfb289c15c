"""Mends one fault of py-data-juicer 1.6.1 from outside, so that its `op_fusion` can be measured at all.

Its duration filter leaves a reader of its own where the fused resolution and text filters expect a PyAV container, and
the job ends with "AttributeError: 'AVReader' object has no attribute 'streams'". Here that filter opens and closes the
file by itself, as it does when it is not fused; the others share one container as they are meant to. Python imports
this file at the start of every process whose PYTHONPATH has this folder.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any

MODULE = "data_juicer.ops.filter.video_duration_filter"


def mend(module: ModuleType) -> None:
    plain = module.VideoDurationFilter.compute_stats_single

    def compute_stats_single(self: Any, sample: Any, context: bool = False) -> Any:
        return plain(self, sample, context=False)

    module.VideoDurationFilter.compute_stats_single = compute_stats_single


class Finder:
    """Finds the module where Python would, and has it mended right after it is loaded."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_mend(module: ModuleType) -> None:
            execute(module)
            mend(module)

        spec.loader.exec_module = execute_and_mend  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
