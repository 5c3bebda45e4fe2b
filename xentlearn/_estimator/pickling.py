"""Pickles of fitted models, which other versions may not be able to read."""

OTHER_VERSION = (
    "Fit the model again; or load it with the version of xentlearn that wrote it, save 'coef_', "
    "'intercept_' and 'classes_', and set these on a new SoftmaxClassifier."
)


class VersionedPickleMixin:
    """Mixin that refuses a pickle of another format."""

    # Of the private attributes of fitted models: a pickle of another version is refused.
    _STATE_VERSION = 2

    def __getstate__(self):
        return {**super().__getstate__(), "_state_version": self._STATE_VERSION}

    def __setstate__(self, state):
        version = state.get("_state_version")
        if version != self._STATE_VERSION:
            raise ValueError(
                f"A pickled {type(self).__name__} must be of format {self._STATE_VERSION}, that of "
                f"this version of xentlearn, got {version or 'one without a format'}. "
                f"{OTHER_VERSION}"
            )
        super().__setstate__({name: state[name] for name in state if name != "_state_version"})
