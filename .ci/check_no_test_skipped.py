"""Fail if a test was skipped in every job that came to it.

    python .ci/check_no_test_skipped.py DIR      # DIR has a junit xml of each run of pytest

A job may run some of the tests. A module that is skipped as a whole counts as one test, which has
run if any test of the module has.
"""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

# Patterns of "classname::name" as junit has them, and why no job runs such a test.
EXEMPTIONS = {
    r"test_constant_fits::test_a_class_alone": "a softmax part needs a logit per class",
    r"test_stream::test_every_loss_and_target": "fit refuses these pairs of loss and y as well",
    r"test_stored_model::test_a_model_of_float64.*float16": "SciPy has no sparse float16",
    r"test_stochastic::test_steps_on_narrow_dtypes.*float16": "SciPy has no sparse float16",
    r"test_design_matrix::test_narrow_X_gives_the_bits.*float16": "SciPy has no sparse float16",
    r"test_design_matrix::test_the_target_in_use_makes_the_products": "needs a CPU with AVX2",
    r"xentlearn\.dask::xentlearn\.dask\.SoftmaxClassifier": "its example would start a cluster",
}


def outcomes(report):
    """Yield (test, whether it ran, reason of its skip) of a junit xml."""
    for case in ElementTree.parse(report).iter("testcase"):
        skip = case.find("skipped")
        ran = skip is None or skip.get("type") == "pytest.xfail"
        name = f"{case.get('classname')}::{case.get('name')}".removeprefix("::")
        yield name, ran, "" if ran else skip.get("message")


def main(folder):
    reports = sorted(Path(folder).glob("*.xml"))
    if not reports:
        raise SystemExit(f"There is no junit xml in {folder}.")
    run, skipped = set(), {}
    for report in reports:
        for name, ran, reason in outcomes(report):
            if ran:
                run.add(name)
                run.add(name.split("::")[0])  # its module
            else:
                skipped[name] = reason
    never = {name: reason for name, reason in skipped.items() if name not in run}
    used = {pattern for pattern in EXEMPTIONS for name in never if re.search(pattern, name)}
    bad = {n: r for n, r in never.items() if not any(re.search(p, n) for p in EXEMPTIONS)}
    for name, reason in sorted(bad.items()):
        print(f"skipped in every job: {name} ({reason})")
    for pattern in EXEMPTIONS.keys() - used:
        print(f"note: the exemption {pattern!r} was not needed")
    print(f"{len(run)} tests ran, {len(never)} never did, {len(never) - len(bad)} of them exempt")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
