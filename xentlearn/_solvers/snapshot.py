"""Descents that are broken off, and go on: as bytes, with the same bits as if they had not been.

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


def carry_out(descent, objective, tol, max_iter, callback):
    """The result of ``descent.run(tol, max_iter, callback)``, whatever ends it.

    Parameters
    ----------
    descent : object
        With ``run`` and its ``result``, the best point at every moment. It can be pickled.
    objective : object
    tol, max_iter, callback
        As in the solvers.

    Returns
    -------
    Result
    """
    result = descent.result

    def snapshot():
        file = io.BytesIO()
        _Pickler(file, objective).dump((descent, objective.state()))
        return file.getvalue()

    result.snapshot = snapshot
    try:
        descent.run(tol, max_iter, callback)
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, Exception) and not result.history["objective"]:
            raise  # there is no point to keep
        result.stopped_by = error
        result.message = f"broken off by {type(error).__name__}"
    finally:
        result.snapshot = None  # it holds the objective, and with it X
    return result


def restored(data, objective):
    """The descent of a ``Result.snapshot``, on an objective that is as it was then.

    Raises
    ------
    ValueError
        If it is of other data, or of another problem.
    """
    descent, state = _Unpickler(io.BytesIO(data), objective).load()
    objective.restore(state)
    return descent
