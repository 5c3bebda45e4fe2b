"""The former home of SoftmaxClassifier, which models that were pickled then still name."""

from ._estimator.pickling import OTHER_VERSION


def __getattr__(name):
    if name == "SoftmaxClassifier":
        raise ImportError(
            "A pickled SoftmaxClassifier must be of this version of xentlearn, got one of an "
            f"earlier version. {OTHER_VERSION}"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
