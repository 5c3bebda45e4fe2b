"""Thresholds of the rules of "auto", each with the measurement that it comes from."""

from dataclasses import dataclass

from .settings import NewtonCholesky


@dataclass(frozen=True)
class Rules:
    """Thresholds at which the choices of "auto" change.

    Attributes
    ----------
    polished_work : int
        Largest work of a pass over X, in multiply-adds, at which a fit is polished: its solver
        continues until no further progress is possible at floating-point precision. Such a fit
        takes milliseconds in any case, and its result then does not depend on how the problem is
        stated (a row with a weight of 2, or the same row twice). For the 8 x 8 digits, with 1.2
        million multiply-adds, polishing takes three times as long as the fit.
    polished : float
        Gap to which a fit is polished: its coefficients are right to about 9 digits.
    polished_to_predict : float
        The same if only predictions are made of it: to about 6 digits. On iris, fits along C then
        take 3.7 iterations instead of 5. If ``tol`` times the strength of the penalty is less, that
        is the gap: a weak penalty makes certificates, which divide by its strength, that much
        looser than Newton's decrement.
    small_work : int
        Largest work of a pass, in multiply-adds, at which X is copied to float64 and centred.
    least_constant : float
        Share of constant features from which on they are dropped; fewer are not worth a copy of X.
    most_copied : int
        Largest size of a dense X that is copied without its constant features: 16 MB in float32.
    most_rotated, most_rotation : float
        A wide X is rotated into its row space if it has at most ``most_rotated`` numbers (400 MB in
        float64) and n_samples^2 n_features is at most ``most_rotation``: this takes a second or
        two, mostly much less than the fit.
    tiny_hessian : float
        Largest work of a whole Hessian, in multiply-adds, at which newton-cholesky is chosen: the
        Hessian then costs about as much as the Python code around a pass. It takes 10 iterations
        instead of the 25 of lbfgs: iris, wine and breast cancer are fitted in half the time, while
        the digits, with 200 million multiply-adds, take six times as long.
    hessian_work : float
        Largest work of a Hessian, in multiply-adds, at which the whole Hessian is used as a
        preconditioner: a tenth of a second.
    hessian_speed : float
        Multiply-adds of a Hessian in float64, a product of matrices, in the time of one of a pass.
        Of 18 tables the costs that follow from it are within a factor of 1.7 of the measured ones
        in 15; with 26 and 36 classes of few features a Hessian takes three times as long, and with
        a single output of 119 features less than half.
    sampled_rows : int
        Rows per coefficient of a sample that the Hessian is made from, if it cannot be made from
        all of them. Its relative error is about the root of its reciprocal, and that is the factor
        by which a step reduces the gradient.
    copied : float
        Multiply-adds of a pass in the time in which a number of X is copied into such a sample and
        centred: 13 ns.
    drawn : float
        Multiply-adds of a pass in the time in which it is decided whether a row is drawn for the
        diagonal block of an output: 8 ns.
    most_coefficients : int
        Largest number of coefficients for which the whole Hessian is formed: 288 MB.
    most_covariance : int
        Largest number of features whose covariance is used as a preconditioner: 32 MB, and its
        factorisation takes well below a second.
    most_block_numbers, most_logits : int
        Largest size of the diagonal blocks of a Hessian, all outputs together (64 MB in float32),
        and largest number of logits of the rows that they are computed from.
    passes_per_block : float
        Diagonal blocks are made after this many times the passes that they cost, if that is earlier
        than the solver's settings say: they then take at most a fifth of the time of a fit.
    least_refresh : int
        Fewest iterations before them. Made embeddings of 45 classes take 14, 18 and 21 iterations
        for C = 1, 10 and 100 with 12; with 8 it is 12, 17 and 25, and with 16 it is 15, 20 and 24.
    most_penalty : float
        Largest strength of a penalty that float32 matrices can hold.
    grouped, grouped_rows : int
        Binary outputs are independent of each other, and over sparse X they share little work. They
        are fitted in groups if there are more than ``grouped`` coefficients, or more than
        ``grouped_rows`` predictions of rows, which dual ascent keeps (160 MB).
    group_numbers, group_step : int
        A group has at most ``group_numbers`` coefficients, so that vectors of them stay in the
        cache, and a multiple of ``group_step`` outputs, which fill whole SIMD vectors. 600 labels
        with 45,000 features took five times as long, and 4 GB, in a single group. Over a dense X a
        group is as large as the diagonal blocks of its Hessian may be, with ``group_step`` outputs
        at least: 964 labels with 384 features take 38 iterations instead of 71. That is not done
        where blocks cost as much as 25 iterations are worth: with 100 labels of 20,000 rows and 500
        features, it took 34 iterations instead of 29.
    separate, separate_numbers : int
        Independent outputs in a group of proximal Newton, at most, and coefficients over a dense X.
        The model of a step ends with its slowest output, so that the others wait; its matrix has
        the blocks between outputs, which are 0, but small models take most of their time in Python.
        48 labels of WordNet's ancestors took 4.6 s in groups of 4, 3.8 s of 8, 4.5 s of 16 and
        8.5 s in one; 40 made labels of 100 dense features 0.6 s in groups of 2 and 6.1 s in one.
    most_pull : float
        Largest mean of C ||x||^2 at which dual ascent is chosen. Sweeps are about as many as it
        says for a softmax (WordNet's glosses: 95 at 100, 270 at 300 and 1040 at 1000; lemmas: 120
        and 390 at the first two), and fewer for labels, while L-BFGS takes about 15 times its root
        iterations, each in the time of 2.5 to 5 sweeps: both take as long at about 1000, if not
        above.
    most_row_state : float
        Largest size, in vectors of coefficients, of the predictions of all rows that it keeps.
    least_tol : float
        Least ``tol``, in rounding errors of X, at which it is: its sums over classes, and with them
        what it certifies, have rounding errors of their own.
    fewest_ascended : int
        Fewest outputs for which dual ascent is chosen: with 4, its sweeps use one core and a
        quarter of the vectors that it works on.
    many_classes, many_coefficients, short_history : int
        With at least ``many_classes`` classes of a softmax over a dense X, a pass works on tiles of
        the classes, and vectors may be larger than X: from ``many_coefficients`` coefficients on,
        the L-BFGS history has ``short_history`` differences (with one, see
        ``_solvers/one_step.py``). Clusters in 20, 30 and 64 dimensions,
        one for each of 4,200 to 5,000 classes, take 80, 192 and 88 iterations with 5 differences,
        77, 199 and 112 with 2, and 71, 218 and 94 with 1.
    sample_rows, sample_numbers : int
        Limits of the sample of rows that preconditioners are made from, if X is in shards: rows,
        and numbers (128 MB in float32). From 30,000 of its 60,000 rows, MNIST takes as many
        iterations as from all of them.
    """

    polished_work: int = 300_000
    polished: float = 1e-18
    polished_to_predict: float = 1e-12
    small_work: int = 4_000_000
    least_constant: float = 0.1
    most_copied: int = 4_000_000
    most_rotated: int = 50_000_000
    most_rotation: float = 5e10
    tiny_hessian: float = 10_000_000
    hessian_work: float = 1.5e9
    hessian_speed: float = 2.0
    sampled_rows: int = 100
    copied: float = 150.0
    drawn: float = 800.0
    most_coefficients: int = NewtonCholesky.max_coefficients
    most_covariance: int = 2000
    most_block_numbers: int = 16_000_000
    passes_per_block: float = 4.0
    least_refresh: int = 12
    most_logits: int = 50_000_000
    most_penalty: float = 1e30
    grouped: int = 6_000_000
    group_numbers: int = 1_500_000
    grouped_rows: int = 20_000_000
    group_step: int = 16
    separate: int = 8
    separate_numbers: int = 200
    most_pull: float = 1000.0
    most_row_state: float = 1.0
    least_tol: float = 100.0
    fewest_ascended: int = 10
    many_classes: int = 4096
    many_coefficients: int = 1_000_000
    short_history: int = 1
    sample_rows: int = 100_000
    sample_numbers: int = 32_000_000
