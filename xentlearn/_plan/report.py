"""A plan as text: the steps of a fit, the reasons for them, and what the fit costs.

Everything is computed when it is asked for: a fit only stores an ``Outline``.
"""

from dataclasses import dataclass, replace
from math import inf

from .._utils.threads import effective_n_threads
from .composite_settings import ProximalNewton
from .cost import certifies, first_refresh, memory_bytes, n_coefficients, pass_work, passes
from .outline import Outline
from .plan import RULES
from .settings import LBFGS, STOCHASTIC, Preconditioning

HESSIANS = {
    "whole": "the Hessian of all rows",
    "sample": "the Hessian of a sample of the rows",
    "blocks": "the diagonal blocks of the Hessian (one per output)",
}
UNITS = {
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes")),
    "seconds": ((60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "us")),
    "number": ((1e12, " trillion"), (1e9, " billion"), (1e6, " million"), (1, "")),
}


@dataclass(frozen=True)
class PlanReport:
    """The plan of a fit; ``print`` shows it. It holds numbers, no rows of X or y.

    Attributes
    ----------
    solver : str
        Name of the solver; of groups of outputs, that of the last one.
    steps : tuple of str
        What the fit does, in order.
    reasons : tuple of str
        The reason for each step.
    memory_bytes : int
        Expected peak of the memory that the fit takes beside X and y. For "proximal-newton" it is
        the most that is to be expected: a fit that leaves most coefficients at 0 takes less.
    pass_seconds : float or None
        Measured time of a pass over X on this machine; None if it is not known.
    passes : tuple (least, most)
        Expected number of passes over X, each an evaluation of the loss or a product with its
        Hessian, or the computation of its curvature for a model of "proximal-newton"; a range that
        holds for nine of ten fits.
    """

    outline: Outline
    pass_seconds: float | None = None

    @property
    def solver(self):
        """See above."""
        outline = self.outline
        if outline.groups:
            return outline.groups[-1].solver
        if outline.solver != "auto":
            return outline.solver
        return "proximal-newton" if outline.is_composite else "lbfgs"

    @property
    def steps(self):
        """See above."""
        return tuple(step for step, _ in self._explained)

    @property
    def reasons(self):
        """See above."""
        return tuple(reason for _, reason in self._explained)

    @property
    def memory_bytes(self):
        """See above."""
        return memory_bytes(self.outline, effective_n_threads())

    @property
    def passes(self):
        """See above."""
        return passes(self.outline)

    def timed(self, seconds, n_outputs):
        """The same with the time of a pass, known for some of the outputs."""
        n_all = sum(group.n_outputs for group in self.outline.groups)
        known = 0 < seconds < float("inf")
        return replace(self, pass_seconds=seconds * n_all / n_outputs if known else None)

    def __repr__(self):
        low, high = self.passes
        return f"<PlanReport: {self.solver}, {low} to {high} passes>"

    def __str__(self):
        outline, (low, high) = self.outline, self.passes
        kind = f"{'sparse ' if outline.is_sparse else ''}{outline.dtype}"
        lines = [
            f"Plan: {outline.n_rows:,} x {outline.n_features:,} {kind}, "
            f"{_counted(outline.n_outputs, 'output')}, {self.solver}"
        ]
        lines += [f"- {step}, {reason}." for step, reason in self._explained]
        about = "at most about" if self.solver == "proximal-newton" else "about"
        lines.append(f"- Memory beside X and y: {about} {_shown(self.memory_bytes, 'bytes')}.")
        if outline.groups:
            work = _shown(pass_work(outline), "number")
            lines.append(f"- A pass over X takes {work} multiply-adds" + self._timing(low, high))
        return "\n".join(lines)

    def _timing(self, low, high):
        outline = self.outline
        what = "Epochs" if self.solver in STOCHASTIC else "Passes"
        number = f".\n- {what}: {low} to {high} in nine of ten cases"
        if not self.pass_seconds:
            return f"{number}."
        least, seconds, most = (
            _shown(times * self.pass_seconds, "seconds") for times in (low, 1, high)
        )
        reading = "" if outline.in_memory else ", reading it included"
        # those that compute curvatures take longer, by how much depends on the coefficients in use
        rest = ", models of the loss not included" if self.solver == "proximal-newton" else ""
        return f", here about {seconds}{reading}{number}; they take {least} to {most} in all{rest}."

    @property
    def _explained(self):
        """(step, reason) of all steps."""
        outline = self.outline
        if not outline.groups:
            return [("Predicts constants", "as no output varies")]
        composite = outline.groups[-1].solver == "proximal-newton"
        return [
            *_presolve_steps(outline),
            *_group_steps(outline),
            *_solver_steps(outline),
            *(_model_steps(outline) if composite else _preconditioner_steps(outline)),
            *_end_steps(outline),
        ]


def _presolve_steps(outline):
    """What is done to X first."""
    if outline.n_copied:
        size = _shown(outline.n_copied, "bytes")
        why = "since it is converted, or some of its rows have no weight"
        why = "to hold out some of its rows" if outline.early_stopping else why
        yield f"Copies X ({size})", why
    if not outline.in_memory:
        yield (
            f"Reads X block by block in every pass and keeps {outline.n_sampled:,} of its rows",
            "as it is not in the memory of this process",
        )
    if outline.unit != 1.0:
        yield f"Divides X by {outline.unit:.3g}", "as squares of its numbers could be lost"
    n_features = outline.n_features
    if outline.n_kept is not None:
        n_features, n_dropped = outline.n_kept, n_features - outline.n_kept
        yield f"Drops {n_dropped:,} of {outline.n_features:,} features", "which are constant"
    if outline.rotated:
        yield (
            f"Rotates a copy of X into the space of its {outline.n_rows:,} rows "
            f"({_shown(8 * outline.n_rows * n_features, 'bytes')})",
            f"since it has more features, {n_features:,}",
        )
    elif outline.centre:
        what = "Centres a copy of X" if outline.fit_intercept else "Copies X"
        yield (
            f"{what} in float64 ({_shown(8 * outline.n_rows * n_features, 'bytes')})",
            f"because a pass has no more than {_shown(RULES.small_work, 'number')} "
            f"products of numbers and coefficients ({_shown(outline.work, 'number')})",
        )


def _group_steps(outline):
    groups = outline.groups
    if len(groups) > 1:
        most = max(group.n_outputs for group in groups)
        reason = "so that the vectors of a group stay near the processor"
        if groups[0].solver == "proximal-newton":
            reason = "as steps of independent outputs take as long as that of the slowest"
        yield (
            f"Fits {outline.n_outputs:,} outputs in {len(groups)} groups of at most {most:,}",
            reason,
        )


def _solver_steps(outline):
    """Which solver, by the rules of ``plan.py``."""
    for solver in dict.fromkeys(group.solver for group in outline.groups):
        group = next(group for group in outline.groups if group.solver == solver)
        size = n_coefficients(outline, group)
        hessian = f"the Hessian of {_counted(size, 'coefficient')}"
        work = _hessian_work(outline, group)
        if solver == "proximal-newton":
            reason = f"since the penalty {_particulars(outline)}"
        elif outline.solver != "auto":
            reason = "as was asked for"
        elif solver == "newton-cholesky":
            reason = f"since {hessian} takes only {_shown(work, 'number')} multiply-adds"
        elif solver == "dual-ascent" and outline.coupled:
            reason = "since rows of sparse X with many features hardly pull at each other"
        elif solver == "dual-ascent":
            reason = "since labels are many, and rows of sparse X hardly pull at each other"
        elif size > RULES.most_coefficients:
            reason = f"since {hessian} would take {_shown(8 * size**2, 'bytes')}"
        elif work > RULES.tiny_hessian:
            reason = f"since {hessian} would take {_shown(work, 'number')} multiply-adds"
        else:
            reason = "since the loss is not plain cross-entropy"
        n_groups = sum(group.solver == solver for group in outline.groups)
        of_all = "" if n_groups == len(outline.groups) else f" for {n_groups} of the groups"
        yield f"Solver: {solver}{of_all}", reason
        if group.history_size is not None and outline.history_size is None:
            yield (
                f"Keeps a history of {_counted(group.history_size, 'step')} rather than "
                f"{LBFGS.large_history}",
                f"as each of its vectors takes {_shown(8 * size, 'bytes')}",
            )


def _particulars(outline):
    """What of the penalty smooth solvers do not know."""
    known = {
        "is not smooth": outline.l1_ratio > 0,
        "has factors by feature": outline.has_factors,
        "has bounds": outline.has_bounds,
    }
    *rest, last = (what for what, holds in known.items() if holds)
    return f"{', '.join(rest)} and {last}" if rest else last


def _model_steps(outline):
    """Which models the steps of proximal Newton minimise, and with which penalty."""
    n, most = n_coefficients(outline, outline.groups[-1]), ProximalNewton.most_coefficients
    columns = "the columns of X and the curvatures of the rows"
    if not outline.in_memory:
        columns = f"the columns and the curvatures of {outline.n_sampled:,} rows"
    if not outline.dense:
        yield f"Minimises models with {columns}", "as X is sparse"
    else:
        yield (
            "Minimises models with the Hessian of the coefficients in use as a matrix",
            f"as X is dense, and they are at most {n:,}" if n <= most else "as X is dense",
        )
        if n > most:
            yield f"Uses {columns} in its place", f"if more than {most:,} are in use"
    is_large = n > ProximalNewton.least_new
    if is_large and outline.l1_ratio > 0 and outline.C < inf and outline.begins_at_0:
        yield (
            "Takes the first steps with stronger L1 penalties",
            "so that few coefficients are in use as long as the minimum is far",
        )


def _preconditioner_steps(outline):
    """What approximates the inverse of the Hessian."""
    group, settings = outline.groups[-1], Preconditioning()
    if group.solver in STOCHASTIC:
        yield "Takes steps in units of the features' spreads", "so that one learning rate suits all"
        return
    if group.solver in ("newton-cholesky", "dual-ascent"):
        return
    n_features = outline.n_solved
    if group.covariance:
        rows = max(settings.least_rows, settings.rows_per_feature * n_features)
        of_rows = f" of {rows:,} rows" if outline.n_sampled > 2 * rows else ""
        yield (
            f"Preconditions by the covariance of {_counted(n_features, 'feature')}{of_rows}",
            f"as they are at most {RULES.most_covariance:,}",
        )
    else:
        yield (
            f"Preconditions by the variances of {n_features:,} features",
            f"as they are more than {RULES.most_covariance:,}",
        )
    if group.local:
        when = f"from iteration {first_refresh(outline, group)} on"
        if certifies(outline, group):
            when += ", or for the certificate"
        yield f"Adds {HESSIANS[group.local]} {when}", "if it is not over by then"


def _end_steps(outline):
    """When it stops."""
    if outline.groups[-1].solver in STOCHASTIC:
        yield "Stops when the objective no longer falls", f"by the share {outline.tol:g}"
    elif outline.polish:
        until = "rounding stops it"
        if outline.groups[-1].solver == "proximal-newton":
            until = f"a step gains at most {RULES.polished:g} of the objective"
        yield (
            f"Polishes until {until}",
            f"as a pass has at most {_shown(RULES.polished_work, 'number')} products",
        )
    else:
        yield f"Stops at a relative optimality gap of {outline.tol:g}", "which is 'tol'"
    if outline.early_stopping:
        yield "Stops early", "if the loss of other rows no longer falls"
    if not outline.convex:
        yield "Begins at the minimum of a convex loss", "as this one has other minima"


def _hessian_work(outline, group):
    """Multiply-adds of the whole Hessian."""
    per_output, K = outline.n_solved + outline.fit_intercept, group.n_outputs
    blocks = K * (K - 1) / 2 if outline.coupled else K
    return outline.n_rows * per_output**2 / 2 * blocks + (per_output * K) ** 3 / 6


def _shown(value, kind):
    """A number in a unit of its kind, with two digits."""
    size, unit = next((pair for pair in UNITS[kind] if value >= pair[0]), UNITS[kind][-1])
    scaled = value / size
    digits = 1 if scaled < 10 and (size > 1 or kind == "seconds") else 0
    space = "" if kind == "number" else " "
    return f"{scaled:,.{digits}f}{space}{unit}"


def _counted(n, what):
    """``n`` of something."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
