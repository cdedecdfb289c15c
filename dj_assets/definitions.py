"""recipes/*.yaml → Definitions; nothing else. What `workspace.yaml`, `dagster dev` and `dg` load."""

from dj_assets.defs.project import project_root
from dj_assets.defs.recipes import build_project_defs

defs = build_project_defs(project_root())
