"""How notebooks show estimators and settings: links to the documentation, parameters in colour."""

import functools
import importlib.metadata
from pathlib import Path

SITE = Path(__file__).resolve().parents[2] / "output" / "site"  # as it is built in a checkout
PAGE = "api/generated/{estimator_module}.{estimator_name}.html"


@functools.cache
def documentation_url():
    """Address of the documentation by the package's metadata; None if these name none."""
    try:
        urls = importlib.metadata.metadata("xentlearn").get_all("Project-URL") or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    by_label = dict(url.split(", ", 1) for url in urls)
    return by_label.get("Documentation")


class NotebookMixin:
    """Mixin that completes scikit-learn's HTML representation of an estimator."""

    _doc_link_module = "xentlearn"

    @property
    def _doc_link_template(self):
        """Address of a page of the documentation, "" if there is none."""
        if documentation_url():
            return f"{documentation_url().rstrip('/')}/{PAGE}"
        public = type(self).__module__.split("._")[0]
        page = SITE / PAGE.format(estimator_module=public, estimator_name=type(self).__name__)
        return page.as_uri() if page.is_file() else ""

    def _get_params_html(self, *args, **kwargs):
        """Parameters, of which those that are not the defaults are marked, also in settings.

        scikit-learn compares parameters of a nested object with the defaults of the outer one.
        """
        shown, values = super()._get_params_html(*args, **kwargs), self.get_params()

        def is_changed(name):
            outer, _, inner = name.partition("__")
            if not inner or not hasattr(values.get(outer), "_get_params_html"):
                return True
            return inner in values[outer]._get_params_html().non_default

        changed = tuple(name for name in shown.non_default if is_changed(name))
        shown.data = {name: shown.data[name] for name in dict.fromkeys((*changed, *shown.data))}
        shown.non_default = changed
        return shown
