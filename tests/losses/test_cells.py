"""Each cell of losses x targets: fitted to the minimum of its written objective, or refused."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import cells
from xentlearn import SoftmaxClassifier
from xentlearn._losses.registry import SETTINGS

DOCUMENT = Path(__file__).parents[2] / "doc" / "losses.md"


def test_every_setting_is_in_the_registry():
    assert {type(loss) for loss in cells.LOSSES.values()} == set(SETTINGS)


def test_the_table_in_the_documentation_is_the_registry():
    assert cells.table() in DOCUMENT.read_text()


@pytest.mark.parametrize("target", cells.TARGETS)
@pytest.mark.parametrize("loss", cells.LOSSES)
def test_cell(loss, target):
    rng = np.random.default_rng([list(cells.LOSSES).index(loss), list(cells.TARGETS).index(target)])
    X = rng.normal(size=(cells.N, cells.N_FEATURES))
    setting, kind = cells.LOSSES[loss], cells.TARGETS[target]
    how, arguments = cells.taken(loss, target), kind.make(rng, X)
    clf = SoftmaxClassifier(clone(setting), **kind.parameters)
    if how is None:
        with pytest.raises(ValueError, match=r"takes (rows|a 1-D y|the first)"):
            clf.fit(X, **arguments)
        return
    clf.fit(X, **arguments)
    value, n_outputs = cells.objective(
        setting, how, X, classes=clf.classes_, **arguments, **kind.parameters
    )
    assert clf.coef_.shape == (n_outputs, X.shape[1])
    found = np.vstack([clf.coef_.T, clf.intercept_]).ravel()
    assert value(found) == pytest.approx(clf.objective_, rel=1e-12)
    # an independent minimiser, from nothing; where the loss is not convex, from its convex start
    start = None if setting._convex else setting._convex_start()
    least, at = 0.0, np.zeros(found.size)
    if start is not None:
        convex, _ = cells.objective(
            start, how, X, classes=clf.classes_, **arguments, **kind.parameters
        )
        at = cells.minimum(convex, at)[1]
    least, _ = cells.minimum(value, at)
    assert clf.objective_ == pytest.approx(least, rel=1e-5)
    proba = clf.predict_proba(X)
    assert proba.shape == (len(X), max(2, n_outputs) if how != cells.LABELS else n_outputs)
    assert ((proba >= 0) & (proba <= 1)).all()
    if how != cells.LABELS:
        np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    assert 0 <= clf.score(X, arguments["y"]) <= 1
    assert clf.optimality_gap_ == np.inf or setting._certifiable
