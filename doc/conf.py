"""Settings of the documentation: pages in Markdown, whose code runs when the site is built.

Every page with a kernelspec in its header is executed, every example as well, and the signatures
and docstrings of the API are read from the package, so that none of them can be stale. What
benchmarks have measured is in ``results/``, one file per benchmark, which pages include.
"""

import xentlearn

project = "xentlearn"
author = "the xentlearn developers"
version = release = xentlearn.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery/*.ipynb", "results/*"]
templates_path = ["templates"]
nitpicky = False

# ---- Pages ---------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300  # seconds for one cell
nb_merge_streams = True

# ---- Examples ------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/",  # every file is executed, ...
    "ignore_pattern": r"^_",  # ... except for modules that examples import
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
}

# ---- API -----------------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # docstrings give the types
numpydoc_show_class_members = False  # the template of classes lists them

# ---- Look ----------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "xentlearn"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_favicon = html_logo = "static/logo.svg"
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
# pages that are sections of their own have no neighbours to list
html_sidebars = {page: [] for page in ("getting_started", "performance", "changelog")}
html_theme_options = {
    "logo": {"text": "xentlearn"},
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def skip_routing(app, what, name, thing, skip, options):
    """Leave out ``set_fit_request`` and the like: scikit-learn documents metadata routing."""
    return True if name.startswith("set_") and name.endswith("_request") else skip


def setup(app):
    app.connect("autodoc-skip-member", skip_routing)
