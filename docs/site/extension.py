"""What the site adds to Sphinx: docstrings in plain text, links from names in the text, formulas without a script."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

ALIASES = {"bp": "blurphys", "np": "numpy"}
PACKAGES = ("blurphys", "solvers", "synth", "nets")


def plain(line: str) -> str:
    """Protect what the docstrings mean literally and reStructuredText would read as markup."""
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    for k, part in enumerate(parts):
        if k % 2 and not part.startswith("``"):
            inner = part[1:-1]
            alias, _, rest = inner.partition(".")
            if alias in ALIASES and re.fullmatch(r"\w+(\.\w+)*", rest):
                parts[k] = f":py:obj:`{inner} <{ALIASES[alias]}.{rest}>`"
            elif not re.fullmatch(r"~?[\w.]+(\(\))?", inner):
                parts[k] = f"``{inner}``"
        elif not k % 2:
            parts[k] = re.sub(r"([*|\\])", r"\\\1", part)
            parts[k] = re.sub(r"(\w)_(?=\W|$)", r"\1\\_", parts[k])
    # A role ends only before space or punctuation.
    for k in range(1, len(parts) - 1, 2):
        if parts[k + 1][:1].isalnum():
            parts[k + 1] = "\\ " + parts[k + 1]
        if parts[k - 1][-1:].isalnum():
            parts[k - 1] += "\\ "
    return "".join(parts)


def clean_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape text, and turn formulas that stand indented on lines of their own into blocks."""
    result: list[str] = []
    depth = None  # of a literal block that the docstring has itself
    after_blank, inside, block, parameter = True, "", False, False
    for number, line in enumerate(lines):
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1].strip()):
            inside, block = bare, False
        if depth is not None and bare and indent <= depth:
            depth = None
        if bare and indent == 0:
            block = False
        parameter = inside in ("Parameters", "Returns", "Raises", "Attributes", "Yields", "Warns", "Other Parameters")
        literal = depth is not None or bare.startswith((">>>", "...")) or inside == "Examples" or block
        if bare and indent >= 4 and after_blank and not literal and not parameter and not bare.startswith(("-", "*")):
            previous = next((k for k in range(len(result) - 1, -1, -1) if result[k].strip()), None)
            item = previous is not None and re.match(r"\s*(- |\d+\. )", result[previous])
            if previous is not None and not item:
                result += ["::", ""]
                block = literal = True
        result.append(line if literal else plain(line))
        if bare.endswith("::") and not literal:
            result[-1] = line
            depth = indent
        after_blank = not bare or re.fullmatch(r"-{3,}", bare) is not None
    lines[:] = result


def skip_member(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which their class describes."""
    doc = getattr(obj, "__doc__", None) or ""
    return True if doc.startswith("Alias for field number") else None


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make a link of every public name that stands in a page as code."""
    objects = app.env.domaindata["py"]["objects"]
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, nodes.reference):
            continue
        text = literal.astext().split("(")[0]
        first, _, rest = text.partition(".")
        full = f"{ALIASES.get(first, first)}.{rest}" if rest else f"blurphys.{text}"
        if full not in objects or not full.startswith(PACKAGES):
            continue
        entry = objects[full]
        if entry.docname == docname:
            continue
        target = app.builder.get_relative_uri(docname, entry.docname) + "#" + entry.node_id
        reference = nodes.reference("", "", internal=True, refuri=target)
        literal.replace_self(reference)
        reference += literal


def inline_math(self: Any, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers draw themselves."""
    self.body.append(str(latex2mathml.tex2mathml(node.astext())))
    raise nodes.SkipNode


def block_math(self: Any, node: nodes.math_block) -> None:
    """Write a displayed formula as MathML."""
    self.body.append(f"<div class='math-block'>{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>")
    raise nodes.SkipNode


def drawn(block: Any, block_vars: Any, gallery_conf: Any, **kwargs: Any) -> Any:
    """Save the figures of a script as sphinx-gallery does, but draw them first: the layout fits at the second time."""
    from matplotlib import pyplot
    from sphinx_gallery.scrapers import matplotlib_scraper

    for number in pyplot.get_fignums():
        pyplot.figure(number).draw_without_rendering()
    return matplotlib_scraper(block, block_vars, gallery_conf, **kwargs)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the parts."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", clean_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
