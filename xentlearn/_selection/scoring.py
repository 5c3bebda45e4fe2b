"""Scores of a SoftmaxClassifierCV, and how metadata is routed to its scorer and its splitter."""

from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from .parameters import checked_scoring, chosen_score
from .scores import scored, takes_weights


class ScoringMixin:
    """Mixin with ``score``, by the parameters ``scoring`` and ``refit``, and with the routing."""

    def _routed(self, sample_weight, params, scorer):
        """Return what the splitter's ``split`` and the scorer get besides X and y, by name."""
        given = [name for name in ("X_val", "y_val") if name in params]
        if given:
            raise ValueError(
                f"A search takes no validation rows, got {given}; with early_stopping=True each "
                "fit holds out rows of its own, and the test rows of the folds judge it."
            )
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **weights, **params)
            if self.scoring is not None:
                weights = routed.scorer.score
            return routed.splitter.split, weights
        if params:
            raise ValueError(
                f"fit() takes {sorted(params)} only with metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True), or pass folds as 'cv', such as "
                "cv=list(GroupKFold().split(X, y, groups))."
            )
        return {}, weights if scorer is not None and takes_weights(scorer) else {}

    def score(self, X, y, sample_weight=None, **params):
        """Return the score by ``scoring``, or the accuracy if that is None.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            True labels, as in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0 of the rows.
        **params : dict
            With metadata routing: further arrays for the scorer.

        Returns
        -------
        float
            Of several scores the one that ``refit`` names.
        """
        if self.scoring is None:
            return super().score(X, y, sample_weight)
        scorer = checked_scoring(self)
        if get_config()["enable_metadata_routing"]:
            if sample_weight is not None:
                params["sample_weight"] = sample_weight
            params = process_routing(self, "score", **params).scorer.score
        elif params:
            raise ValueError(
                f"score() takes {sorted(params)} only with metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        elif sample_weight is not None:
            params = {"sample_weight": sample_weight}
        return chosen_score(scored(scorer, self, X, y, params), self.refit)

    def get_metadata_routing(self):
        """Return how metadata is routed to the splitter and the scorer.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(
            splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
        )
        if self.scoring is not None:
            both = MethodMapping().add(caller="score", callee="score")
            both.add(caller="fit", callee="score")
            router.add(scorer=checked_scoring(self), method_mapping=both)
        return router
