"""Put the sources of the documentation together and build the site: `make docs`, `make docs-quick`.

The pages are those of `docs/`, the notebooks and scripts of `examples/`, and a few files that live elsewhere in the
repository. They are copied into `build/site/source`, where links between them are set to their new places, so that each
page also reads well, with working links, where it lies.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SITE = ROOT / "build" / "site"

# Files outside of docs/ that are pages, and where they go.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "nets/pretrained/README.md": "model_cards.md",
}
# What is shown by another page than itself.
STANDS_FOR = {
    "README.md": "index.md",
    "docs/README.md": "index.md",
    "examples": "examples.md",
    "examples/claims": "claims.md",
    "examples/gallery": "gallery/index.rst",
    "docs/adr": "adr/README.md",
}
LINK = re.compile(r"(?<!`)\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """Return the place in the site of each file that is a page, both relative; the first from the root."""
    found = dict(ELSEWHERE)
    for file in sorted((ROOT / "docs").rglob("*.md")):
        inside = file.relative_to(ROOT / "docs")
        if inside.parts[0] != "site" and inside != Path("README.md"):
            found[f"docs/{inside}"] = str(inside)
    for file in sorted((ROOT / "examples").glob("*.ipynb")):
        found[f"examples/{file.name}"] = f"notebooks/{file.name}"
    return found


def moved(text: str, origin: str, known: dict[str, str]) -> tuple[str, set[str]]:
    """Set the links of a page to the places in the site; also returns the files that it links to."""
    place, files = Path(known[origin]), set()

    def replace(match: re.Match[str]) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        if not target:
            return match.group(0)
        inside = os.path.normpath(Path(origin).parent / target)
        inside = STANDS_FOR.get(inside, inside)
        if inside.startswith("examples/gallery/") and (ROOT / inside).is_file():
            inside = inside.removeprefix("examples/").removesuffix(".py") + ".rst"
        if inside in known:
            new = known[inside]
        elif inside in known.values() or inside.startswith("gallery/") or inside in STANDS_FOR.values():
            new = inside
        else:
            files.add(inside)
            new = f"files/{inside}"
        return f"]({os.path.relpath(new, place.parent)}{anchor})"

    return LINK.sub(replace, text), files


def write(path: Path, text: str) -> None:
    """Write what has changed only, so that Sphinx reads again what has changed only."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def copy(source: Path, target: Path) -> None:
    """Copy a file unless the same is there."""
    if not target.exists() or source.read_bytes() != target.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def assemble(source: Path) -> None:
    """Put pages, notebooks, linked files and settings together in a folder."""
    known, kept = pages(), set()
    for origin, place in known.items():
        text, files = moved((ROOT / origin).read_text(encoding="utf-8"), origin, known)
        write(source / place, text)
        kept.add(source / place)
        for file in files:
            if not (ROOT / file).is_file():
                raise SystemExit(
                    f"{origin} links to {file}, which is not a file of the repository or a page of the site"
                )
            copy(ROOT / file, source / "files" / file)
    for stale in {*source.glob("*.md"), *source.glob("[!ga]*/*.md")} - kept:
        stale.unlink()
    scripts = {
        file.relative_to(ROOT / "examples").with_suffix("") for file in (ROOT / "examples" / "gallery").rglob("*.py")
    }
    for old in (source / "gallery").rglob("*.py"):
        if old.relative_to(source).with_suffix("") not in scripts:
            for file in old.parent.glob(f"{old.stem}.*"):
                file.unlink()
    for file in [*HERE.glob("*.py"), *HERE.glob("templates/**/*"), *HERE.glob("static/**/*")]:
        if file.is_file() and file != Path(__file__).resolve():
            copy(file, source / file.relative_to(HERE))
    for file in (ROOT / "docs" / "images").iterdir():
        copy(file, source / "images" / file.name)


def commands(source: Path) -> None:
    """Add the help of every command to their page."""
    os.environ |= {"NO_COLOR": "1", "COLUMNS": "110", "TERM": "dumb"}
    import typer
    from typer.testing import CliRunner

    from blurphys.cli import application

    runner, front = CliRunner(), application()
    top = typer.main.get_command(front)
    names = [[name] for name in sorted(top.list_commands(None))]
    names += [["synth", name] for name in sorted(top.get_command(None, "synth").list_commands(None))]
    parts = [(source / "commands.md").read_text(encoding="utf-8").partition("\n## ")[0].rstrip() + "\n"]
    for name in sorted(names):
        shown = runner.invoke(front, [*name, "--help"])
        if shown.exit_code:
            raise SystemExit(f"blurphys {' '.join(name)} --help ended with code {shown.exit_code}")
        text = "\n".join(line.rstrip() for line in shown.output.strip("\n").splitlines())
        parts.append(f"## blurphys {' '.join(name)}\n\n```text\n{text}\n```\n")
    write(source / "commands.md", "\n".join(parts))


def wipe(folder: Path) -> None:
    """Write the two pictures of the landing page: a photo, and what a lens records of it."""
    if (folder / "recorded.jpg").exists():
        return
    import numpy as np
    from PIL import Image

    import blurphys as bp
    import synth

    scene = synth.scenes.with_background(synth.scenes.stereo_motorcycle())
    camera = synth.Camera.for_scene(scene, max_radius=9)
    sample = synth.render(scene, camera, rng=0, model="layered")
    folder.mkdir(parents=True, exist_ok=True)
    for name, light in (("sharp", sample.all_in_focus), ("recorded", sample.combined)):
        picture = np.clip(bp.colour.linear_to_srgb(light), 0, 1).transpose(1, 2, 0)
        Image.fromarray((255 * picture + 0.5).astype(np.uint8)).save(folder / f"{name}.jpg", quality=85, optimize=True)


def main() -> None:
    """Build the site and check it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="run neither gallery nor notebooks")
    parser.add_argument("--no-notebooks", action="store_true", help="show the notebooks without outputs")
    parser.add_argument("--out", type=Path, default=SITE)
    given = parser.parse_args()
    start = time.perf_counter()
    source, html = given.out / "source", given.out / ("quick" if given.quick else "html")
    assemble(source)
    commands(source)
    wipe(source / "static" / "wipe")
    os.environ["BLURPHYS_DOCS_QUICK"] = "1" if given.quick else ""
    os.environ["BLURPHYS_DOCS_NOTEBOOKS"] = "" if given.quick or given.no_notebooks else "1"
    os.environ["MPLBACKEND"] = "agg"
    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(given.out / f"trees-{html.name}"), source, html]
    done = subprocess.run([sys.executable, "-m", "sphinx", *map(str, arguments)], check=False)
    if done.returncode:
        raise SystemExit("the site has warnings or errors, see above")
    from checks import check

    complaints = check(html)
    print("\n".join(complaints[:40]))
    if complaints:
        raise SystemExit(f"{len(complaints)} links of the site are wrong")
    count = len(list(html.rglob("*.html")))
    print(f"{html / 'index.html'}: {count} pages in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
