"""The site: every public name has a page, every page is reached, links and commands lead somewhere, code runs."""

import importlib
import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from blurphys.cli import application

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GALLERY = sorted((ROOT / "examples" / "gallery").rglob("*.py"))
PACKAGES = ("blurphys", "solvers", "synth", "nets")
API = sorted((DOCS / "api").glob("*.md"))
NEW = [DOCS / "index.md", DOCS / "quickstart.md", DOCS / "which_tool.md", DOCS / "coming_from.md"]
NEW += sorted((DOCS / "howto").glob("*.md"))


def module_of(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = module_of("build")


def listed():
    """The names of the reference, in order, as they are written."""
    pattern = re.compile(r"^(?:   |\.\. py:data:: )((?:blurphys|solvers|synth|nets)\.[\w.]+)$", flags=re.MULTILINE)
    return [name for page in API for name in pattern.findall(page.read_text(encoding="utf-8"))]


def public():
    """Every public name, with what it names; modules are left out, their names are not."""
    waiting, seen, found = list(PACKAGES), set(), {}
    while waiting:
        module = importlib.import_module(waiting.pop())
        if module.__name__ in seen:
            continue
        seen.add(module.__name__)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, ModuleType):
                waiting.append(value.__name__)
            else:
                found[f"{module.__name__}.{name}"] = value
    return found


def test_every_public_name_stands_in_the_reference():
    names, there = public(), set(listed())
    documented = [names[name] for name in there if name in names]
    missing = [n for n, value in names.items() if n not in there and not any(value is other for other in documented)]
    assert not missing, f"add to a page of docs/api: {', '.join(sorted(missing))}"


def test_the_reference_names_what_is_public_and_once():
    names, there = public(), listed()
    assert sorted(set(there)) == sorted(there)
    assert not [name for name in there if name not in names]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The pages as the site has them, all links set."""
    folder = tmp_path_factory.mktemp("site")
    build.assemble(folder)
    return folder


def test_links_of_the_site_lead_somewhere(source):
    scripts = {f"gallery/{file.relative_to(ROOT / 'examples' / 'gallery').with_suffix('.rst')}" for file in GALLERY}
    for page in source.rglob("*.md"):
        for target in re.findall(r"(?<!`)\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            inside = (page.parent / target).resolve().relative_to(source.resolve())
            made = str(inside) in scripts | {"gallery/index.rst"}
            assert made or (source / inside).is_file(), f"{page.name} links to {target}"


def test_every_page_is_reached_and_every_entry_is_there(source):
    reached, waiting = set(), ["index"]
    while waiting:
        name = waiting.pop()
        if name in reached or name == "gallery/index":
            continue
        reached.add(name)
        file = next((source / f"{name}{end}" for end in (".md", ".ipynb") if (source / f"{name}{end}").exists()), None)
        assert file, f"a toctree names {name}, which is not there"
        if file.suffix == ".ipynb":
            continue
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", file.read_text(encoding="utf-8"), flags=re.M | re.S):
            for entry in filter(None, (line.strip() for line in tree.splitlines())):
                if not entry.startswith(":"):
                    found = sorted(file.parent.glob(f"{entry}.*")) if "*" in entry else [file.parent / entry]
                    assert found, f"{name}: no page matches {entry}"
                    waiting += [str(f.relative_to(source)).removesuffix(f.suffix if f.exists() else "") for f in found]
    pages = {str(f.relative_to(source).with_suffix("")) for end in ("md", "ipynb") for f in source.rglob(f"*.{end}")}
    pages = {page for page in pages if not page.startswith(("files/", "static/"))}
    assert pages == reached, f"no page leads to {sorted(pages - reached)}"


def test_links_are_set_to_the_new_places():
    known = {"docs/a.md": "a.md", "docs/adr/b.md": "adr/b.md", "examples/README.md": "examples.md"}
    links = {
        "../a.md#x": "../a.md#x",
        "../../examples/README.md": "../examples.md",
        "../../examples": "../examples.md",
        "https://e.org": "https://e.org",
        "../../Makefile": "../files/Makefile",
        "#y": "#y",
    }
    found, files = build.moved(" ".join(f"[a]({link})" for link in links), "docs/adr/b.md", known)
    assert found == " ".join(f"[a]({link})" for link in links.values())
    assert files == {"Makefile"}


@pytest.mark.parametrize("page", NEW, ids=lambda page: page.name)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    if not blocks:
        return
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    if "import pylops" in "".join(blocks):
        pytest.importorskip("pylops")
    namespace = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)
    pyplot.close("all")


def command_lines():
    for page in NEW:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S):
            for line in block.splitlines():
                found = re.search(r"(?:^|[/ ])blurphys ((?:[a-z]).*)", line.partition(" # ")[0])
                if found and not line.startswith((".venv/bin/pip", "python")):
                    yield pytest.param(found.group(1), id=f"{page.stem}: {found.group(1)[:40]}")
        for line in re.findall(r"`blurphys ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
            yield pytest.param(line, id=f"{page.stem}: {line[:40]}")


@pytest.mark.parametrize("line", list(command_lines()))
def test_options_exist(line):
    words = shlex.split(line)
    command = words[: 2 if words[0] == "synth" else 1]
    shown = CliRunner().invoke(application(), [*command, "--help"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    known = set(re.findall(r"--[a-z-]+", shown.output))
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_the_gallery_is_large_and_each_script_says_what_it_shows():
    assert len(GALLERY) >= 20
    for file in GALLERY:
        title, line, blank, *_ = file.read_text(encoding="utf-8").removeprefix('"""\n').splitlines()
        assert title and line == "=" * len(title) and not blank, file.name


@pytest.mark.parametrize("script", GALLERY, ids=lambda script: f"{script.parent.name}/{script.stem}")
def test_script_of_the_gallery_runs_and_draws(script, tmp_path, monkeypatch):
    if "torch" in script.read_text(encoding="utf-8") or script.parent.name == "learning":
        pytest.importorskip("torch")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    before = set(sys.path)
    runpy.run_path(str(script))
    assert pyplot.get_fignums(), "it draws nothing"
    pyplot.close("all")
    assert set(sys.path) == before and not list(tmp_path.iterdir())


def test_docstrings_are_read_as_plain_text():
    pytest.importorskip("sphinx")
    extension = module_of("extension")
    assert extension.plain("||A x|| of shape (*B, C)") == r"\|\|A x\|\| of shape (\*B, C)"
    assert extension.plain("`bp.GKM` and `x_`s") == r":py:obj:`bp.GKM <blurphys.GKM>` and `x_`\ s"
    assert extension.plain("w_l(c) and x_ .") == r"w_l(c) and x\_ ."
    assert extension.plain("``a*b`` is kept") == "``a*b`` is kept"
    lines = ["Do.", "", "Notes", "-----", "    x <- |y|", "", "More *B."]
    extension.clean_docstring(None, "", "", None, None, lines)
    assert lines == ["Do.", "", "Notes", "-----", "::", "", "    x <- |y|", "", r"More \*B."]


def test_checks_find_what_is_wrong(tmp_path):
    checks = module_of("checks")
    (tmp_path / "a.html").write_text(
        '<script src="https://cdn.example.org/x.js"></script><a href="b.html#there">1</a><a href="b.html#gone">2</a>'
        '<a href="c.html">3</a><a href="https://pypi.org/project/x">4</a><img src="d.png"><a href="https://example.org">5</a>'
    )
    (tmp_path / "b.html").write_text('<h1 id="there">B</h1>')
    found = "\n".join(checks.check(tmp_path))
    assert len(found.splitlines()) == 5
    for part in ("needs the network", "b.html#gone", "c.html, which is missing", "registry", "d.png, which is missing"):
        assert part in found
