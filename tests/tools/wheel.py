"""Build the wheel, install it into an environment of its own and use it there: what `make wheel` runs.

The environment sees what is installed beside this Python, except the editable blurphys, and not the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DEMO = ("demo", "--image", "photo.npy", "--depth", "depth.npy", "--depth-unit", "m", "--max-radius", "2")
WHERE = """
import importlib.util
from pathlib import Path
for name in ("blurphys", "synth", "solvers", "nets"):
    found = Path(importlib.util.find_spec(name).origin)
    assert found.is_relative_to({own!r}), f"{{name}} comes from {{found}}, not from the wheel"
    assert found.with_name("py.typed").is_file(), f"the wheel has no types of {{name}}"
for part in ("app.py", "assets/lab.css", "assets/picture.css", "assets/picture.js"):
    assert found.parent.joinpath("lab", part).is_file(), f"the wheel has no {{part}} of the lab"
"""
OPERATOR = """
import numpy as np
import blurphys as bp

def build():
    return bp.Convolution(bp.psf.gaussian(1.0, 7), shape=(3, 12, 16))
"""


def main() -> None:
    """Stop with the message of the first step that fails."""
    with tempfile.TemporaryDirectory(prefix="blurphys-wheel-") as name:
        folder = Path(name)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment = inherited | {"PYTHONPATH": str(folder), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

        def run(*command: object) -> str:
            print("$", *command, flush=True)
            done = subprocess.run(
                [str(part) for part in command],
                cwd=folder,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            print(done.stdout, end="", flush=True)
            return done.stdout

        pip = (sys.executable, "-m", "pip", "--quiet")
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")

        venv.create(folder / "own")
        python = folder / "own" / "bin" / "python"
        own = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "own")}))
        (own / "beside.pth").write_text("\n".join(dict.fromkeys(map(sysconfig.get_path, ("purelib", "platlib")))))
        run(*pip, "--python", python, "install", "--no-deps", wheel)

        run(python, "-c", WHERE.format(own=str(own)))
        (folder / "my_blur.py").write_text(OPERATOR)
        blurphys = folder / "own" / "bin" / "blurphys"
        assert "PROBLEM" not in run(blurphys, "doctor")
        run(blurphys, "check", "my_blur:build")
        rng = np.random.default_rng(0)
        np.save(folder / "photo.npy", rng.random((48, 64, 3), dtype=np.float32))
        np.save(folder / "depth.npy", np.linspace(1, 4, 48 * 64, dtype=np.float32).reshape(48, 64))
        run(blurphys, *DEMO)
        assert (folder / "demo.h5").is_file() and (folder / "demo.png").is_file()


if __name__ == "__main__":
    main()
