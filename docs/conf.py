"""The web book (`make book`): README, lessons, solutions and documents as one site, with the outputs that are stored in the notebooks."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

project = "Neural-network pruning, measured"
html_title = project
html_context = {"default_mode": "auto"}  # as the reader's system
author = copyright = "the contributors"
root_doc = "README"
include_patterns = ["README.md", "docs/*.md", "notebooks/[0-9]*.ipynb", "notebooks/solutions/[0-9]*.ipynb"]
exclude_patterns = [".*", "build", "data", "env", "results"]  # folders that need not be searched

extensions = ["myst_nb", "sphinx_copybutton", "tools.book"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # the summaries that cells print
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_heading_slug_func = "tools.book.slug"

html_theme = "sphinx_book_theme"
html_theme_options = {"use_download_button": True, "home_page_in_toc": True, "navbar_persistent": []}
html_static_path = ["book.css"]
html_css_files = ["book.css"]
html_favicon = "favicon.svg"
html_math_renderer = "mathml"  # of tools.book: no script, no font from elsewhere
html_copy_source = True
html_use_index = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"
