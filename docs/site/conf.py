"""Settings of Sphinx; `build.py` copies this file beside the pages."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
ROOT = Path(__file__).resolve().parents[3]
QUICK = bool(os.environ.get("BLURPHYS_DOCS_QUICK"))

from blurphys import __version__  # noqa: E402

SECTIONS = ("lenses", "operators", "solvers", "unknown_blur", "learning")

project = "blurphys"
author = "The blurphys developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_gallery.gen_gallery",
    "extension",
]
exclude_patterns = ["files/**", "images/**", "templates/**", "static/**"]
exclude_patterns += ["gallery/**/*.ipynb", "**/sg_execution_times.rst"]
templates_path = ["templates"]
default_role = "py:obj"
suppress_warnings = ["config.cache"]
highlight_language = "none"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "cache" if os.environ.get("BLURPHYS_DOCS_NOTEBOOKS") else "off"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "plot_gallery": not QUICK,
    "image_scrapers": ("extension.drawn",),
    "within_subsection_order": "FileNameSortKey",
    "subsection_order": [f"../../../examples/gallery/{name}" for name in SECTIONS],
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "capture_repr": ("__str__",),
    "matplotlib_animations": False,
    "nested_sections": False,
    "min_reported_time": 1e9,
    "show_memory": False,
    "write_computation_times": False,
    "image_srcset": ["2x"],
    "reference_url": {"blurphys": None, "solvers": None, "synth": None, "nets": None},
    "doc_module": (),
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "blurphys"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "blurphys"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "article_footer_items": [],
}
html_sidebars = {"index": [], "quickstart": [], "which_tool": []}
