"""A descent as bytes, from which it goes on with the same bits as if it had never stopped.

The objective is too large, and is made anew from the same data: of it a snapshot has what has
changed since it was made, ``objective.state()``.
"""

import io
import pickle


class _Pickler(pickle.Pickler):
    def __init__(self, file, objective):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.objective = objective

    def persistent_id(self, obj):
        return "objective" if obj is self.objective else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, objective):
        super().__init__(file)
        self.objective = objective

    def persistent_load(self, pid):
        return self.objective


def snapshot(descent, objective):
    """Bytes of a descent, and of what its objective has come to know."""
    file = io.BytesIO()
    _Pickler(file, objective).dump((descent, objective.state()))
    return file.getvalue()


def restored(data, objective):
    """The descent of a ``snapshot``, on an objective that is as it was then.

    Raises
    ------
    ValueError
        If it is of other data, or of another problem.
    """
    descent, state = _Unpickler(io.BytesIO(data), objective).load()
    objective.restore(state)
    return descent
