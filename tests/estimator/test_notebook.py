"""What a notebook shows of an estimator: links to the documentation, and changed parameters."""

import re

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_html_repr

from xentlearn import SoftmaxClassifier
from xentlearn._data.targets import AUTO_NAMES, resolve_loss
from xentlearn._losses.registry import known_names
from xentlearn._utils import notebook
from xentlearn.losses import BinaryCrossentropy, CategoricalCrossentropy, HybridLoss
from xentlearn.losses import SparseCategoricalCrossentropy as Sparse
from xentlearn.solvers import Adam

marks = pytest.mark.skipif(
    not hasattr(BaseEstimator, "_get_params_html"), reason="scikit-learn is too old to mark them"
)


def hybrid(smoothing):
    return HybridLoss([("a", CategoricalCrossentropy(smoothing)), ("b", BinaryCrossentropy())])


@marks
@pytest.mark.parametrize(
    ("clf", "changed"),
    [
        (SoftmaxClassifier(), set()),
        (SoftmaxClassifier(C=2.0), {"C"}),
        (SoftmaxClassifier(Sparse()), {"loss"}),
        (SoftmaxClassifier(Sparse(0.1)), {"loss", "loss__label_smoothing"}),
        (SoftmaxClassifier(solver=Adam(beta_1=0.5)), {"solver", "solver__beta_1"}),
        (
            SoftmaxClassifier(hybrid(0.1)),
            {"loss", "loss__losses", "loss__a", "loss__b", "loss__a__label_smoothing"},
        ),
    ],
    ids=lambda value: repr(sorted(value) if isinstance(value, set) else value),  # in one order
)
def test_changed_parameters(clf, changed):
    shown = clf._get_params_html()
    assert set(shown.non_default) == changed
    assert dict(shown) == clf.get_params()
    assert list(shown)[: len(changed)] == list(shown.non_default)
    marked = re.findall(r'<tr class="user-set">.*?Copy (\w+) to', shown._repr_html_inner(), re.S)
    assert set(marked) == changed


@pytest.fixture
def site(tmp_path, monkeypatch):
    """No address in the metadata, and a site with two pages."""
    pages = tmp_path / "api" / "generated"
    pages.mkdir(parents=True)
    for name in ("xentlearn.SoftmaxClassifier", "xentlearn.solvers.Adam"):
        (pages / f"{name}.html").touch()
    monkeypatch.setattr(notebook, "SITE", tmp_path)
    monkeypatch.setattr(notebook, "documentation_url", lambda: None)
    return pages


def test_links_to_a_site_in_a_checkout(site):
    page = (site / "xentlearn.SoftmaxClassifier.html").as_uri()
    assert SoftmaxClassifier()._get_doc_link() == page
    assert f'href="{page}' in estimator_html_repr(SoftmaxClassifier())
    assert Adam()._get_doc_link() == (site / "xentlearn.solvers.Adam.html").as_uri()
    assert BinaryCrossentropy()._get_doc_link() == ""
    assert 'href="https://scikit-learn.org' not in estimator_html_repr(BinaryCrossentropy())


def test_links_by_metadata(site, monkeypatch):
    monkeypatch.setattr(notebook, "documentation_url", lambda: "https://example.org/x/")
    link = "https://example.org/x/api/generated/xentlearn.losses.BinaryCrossentropy.html"
    assert BinaryCrossentropy()._get_doc_link() == link
    assert f'href="{link}' in estimator_html_repr(BinaryCrossentropy())


@pytest.mark.parametrize(
    ("urls", "want"),
    [
        (None, None),
        (["Source, https://a.b"], None),
        (["Source, https://a.b", "Documentation, https://c.d/e"], "https://c.d/e"),
    ],
)
def test_metadata(urls, want, monkeypatch):
    class Metadata:
        def get_all(self, name):
            return urls

    monkeypatch.setattr(notebook.importlib.metadata, "metadata", lambda name: Metadata())
    assert notebook.documentation_url.__wrapped__() == want


def test_subclasses_of_users_have_no_link(site):
    class Mine(SoftmaxClassifier):
        pass

    assert Mine()._get_doc_link() == ""


def test_the_docstring_lists_the_names_of_the_error():
    text = SoftmaxClassifier.__doc__
    entry = text[text.index("    loss : str") : text.index("    C : float")]
    named = set(re.findall(r'"(\w+)"', entry))
    with pytest.raises(ValueError, match="'loss' must be one of") as error:
        resolve_loss("unknown")
    listed = re.search(r"one of (\[.*?\])", str(error.value))[1]
    assert named == set(re.findall(r"'(\w+)'", listed)) == {*AUTO_NAMES, *known_names()}


@marks
def test_names_of_parts_that_do_not_fit():
    clf = SoftmaxClassifier(HybridLoss([("a__b", Sparse())]))  # an error of fit
    assert "a__b" in clf._repr_html_()
