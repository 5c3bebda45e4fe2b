"""Docstrings of everything public: sections, parameter names in order, and true defaults."""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
import textwrap
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.base import BaseEstimator

import xentlearn
from xentlearn import SoftmaxClassifier
from xentlearn._losses.registry import SETTINGS
from xentlearn._solvers import settings

# numpydoc's sections, in numpydoc's order
SECTIONS = [
    "Parameters",
    "Attributes",
    "Returns",
    "Raises",
    "Warns",
    "See Also",
    "Notes",
    "References",
    "Examples",
]


# --- What is public -------------------------------------------------------------------------------


def public_modules():
    """Yield the package and every module of it whose name has no leading underscore."""
    yield xentlearn
    for module in pkgutil.iter_modules(xentlearn.__path__):
        needs = NEEDS.get(module.name, "xentlearn")
        if not module.name.startswith("_") and importlib.util.find_spec(needs):
            yield importlib.import_module(f"xentlearn.{module.name}")


NEEDS = {"dask": "distributed"}  # what is not installed with the package
MODULES = list(public_modules())


def public_objects():
    """Yield (name, class or function); modules count for what they list themselves."""
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if not inspect.ismodule(thing):
                yield f"{module.__name__}.{name}", thing


def public_methods():
    """Methods that are written here (not scikit-learn's), each once, with one of its classes."""
    seen = set()
    for _, cls in CLASSES:
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            here = method.__module__.startswith("xentlearn")
            public = name == "__call__" or not name.startswith("_")
            if here and public and name not in HOOKS and method not in seen:
                seen.add(method)
                yield method.__qualname__, cls, method


# Called by scikit-learn alone, with what its protocol of callbacks says.
HOOKS = {"setup", "teardown", "on_fit_task_begin", "on_fit_task_end"}
CLASSES = [(name, thing) for name, thing in public_objects() if inspect.isclass(thing)]
FUNCTIONS = [(name, thing) for name, thing in public_objects() if not inspect.isclass(thing)]
METHODS = list(public_methods())
CALLABLES = FUNCTIONS + [(name, method) for name, _, method in METHODS]

each_class = pytest.mark.parametrize("cls", [c for _, c in CLASSES], ids=[n for n, _ in CLASSES])
each_callable = pytest.mark.parametrize(
    "function", [f for _, f in CALLABLES], ids=[n for n, _ in CALLABLES]
)
each_thing = pytest.mark.parametrize(
    "thing",
    [thing for _, thing in CLASSES + CALLABLES],
    ids=[name for name, _ in CLASSES + CALLABLES],
)


# --- Reading docstrings ---------------------------------------------------------------------------


@dataclass
class Entry:
    """``name : type`` and what is indented below it."""

    name: str
    type: str
    description: str

    @property
    def default(self):
        """The documented default as text, or None."""
        found = re.search(r"default=(.+)$", self.type)
        return found and found[1]


@dataclass
class Docstring:
    summary: str
    text: str  # all of it
    sections: dict = field(default_factory=dict)  # lines by title
    order: list = field(default_factory=list)

    def entries(self, title):
        """Entries of a section like Parameters; ``a, b : type`` is two of them."""
        entries, lines = [], self.sections.get(title, [])
        for line in lines:
            if line and not line.startswith(" "):
                names, separator, kind = line.partition(" : ")
                names = names.split(", ") if separator else [names]
                entries.append((names, kind, []))
            elif entries:
                entries[-1][2].append(line.strip())
        return [
            Entry(name, kind, " ".join(below).strip())
            for names, kind, below in entries
            for name in names
        ]


def read(thing):
    """Split a docstring (a method may inherit its own) into sections: titles are underlined."""
    text = inspect.getdoc(thing) or ""
    lines = text.splitlines()
    docstring = Docstring(lines[0] if lines else "", text)
    title = None
    for i, line in enumerate(lines):
        underlined = i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1])
        if underlined and line.strip():
            assert len(lines[i + 1]) == len(line), f"underline of {line!r}"
            assert line not in docstring.sections, f"{line!r} comes twice"
            title = line
            docstring.sections[title] = []
            docstring.order.append(title)
        elif title is not None and not re.fullmatch(r"-{3,}", line):
            docstring.sections[title].append(line)
    return docstring


def parameters_of(function):
    """Parameters of a signature by the name they are documented by, ``self`` left out."""
    parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "self":
            prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
            parameters[prefix.get(parameter.kind, "") + name] = parameter
    return parameters


def same_default(documented, default):
    """Whether a default as written is the value in the signature."""
    try:
        value = ast.literal_eval(documented)
    except (ValueError, SyntaxError):
        return documented == repr(default)
    return type(value) is type(default) and value == default


def assert_documents(entries, parameters):
    """Names in order, a description each, and the defaults of the signature."""
    assert [entry.name for entry in entries] == list(parameters)
    for entry in entries:
        default = parameters[entry.name].default
        assert entry.type, f"{entry.name!r} has no type"
        assert entry.description, f"{entry.name!r} is not described"
        if default is inspect.Parameter.empty:
            assert entry.default is None, f"{entry.name!r} has no default"
        else:
            assert entry.default is not None, f"{entry.name!r} has the default {default!r}"
            assert same_default(entry.default, default), (
                f"{entry.name!r}: documented default {entry.default}, signature {default!r}"
            )


def returns_something(function):
    """Whether a function has a ``return`` with a value (of its own, not of an inner function).

    What only raises NotImplementedError is there for subclasses to return something.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            return True
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))
    return False


# --- The reader itself ----------------------------------------------------------------------------


def example(a, b, c=1.0, *, d="x", e=None, **rest):
    """Sum of things.

    Parameters
    ----------
    a, b : float
        Two numbers.
    c : float, default=1.0
        A third one,
        of two lines.
    d : {"x", "y"}, default="x"
        A string.
    e : int or None, default=None
        Nothing.
    **rest : dict
        More.

    Returns
    -------
    float
    """
    return a + b + c


def test_the_reader():
    docstring = read(example)
    assert docstring.summary == "Sum of things."
    assert docstring.order == ["Parameters", "Returns"]
    entries = docstring.entries("Parameters")
    assert [entry.name for entry in entries] == ["a", "b", "c", "d", "e", "**rest"]
    assert [entry.default for entry in entries] == [None, None, "1.0", '"x"', "None", None]
    assert entries[2].description == "A third one, of two lines."
    assert docstring.entries("Returns")[0].name == "float"
    assert docstring.entries("Raises") == []
    assert_documents(entries, parameters_of(example))
    assert returns_something(example)
    assert not returns_something(xentlearn.show_versions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries[:-1], "rest"),
        (lambda entries: [entries[1], entries[0], *entries[2:]], "a"),
        (lambda entries: [*entries[:2], Entry("c", "float", "x"), *entries[3:]], "default 1.0"),
        (lambda entries: [*entries[:2], Entry("c", "default=1", "x"), *entries[3:]], "default 1"),
        (lambda entries: [*entries[:2], Entry("c", "default=1.0", ""), *entries[3:]], "described"),
        (lambda entries: [Entry("a", "default=3", "x"), *entries[1:]], "no default"),
        (lambda entries: [Entry("a", "", "x"), *entries[1:]], "no type"),
    ],
)
def test_the_comparison_can_fail(change, message):
    entries = read(example).entries("Parameters")
    with pytest.raises(AssertionError, match=message):
        assert_documents(change(entries), parameters_of(example))


def test_there_is_something_to_look_at():
    of_losses = {f"xentlearn.losses.{setting.__name__}" for setting in SETTINGS}
    of_solvers = {f"xentlearn.solvers.{s.__name__}" for s in settings.SETTINGS.values()}
    assert len(SETTINGS) == 10
    names = {name for name, _ in CLASSES}
    assert {name for name in names if name.startswith("xentlearn.losses.")} == of_losses
    assert {name for name in names if name.startswith("xentlearn.solvers.")} == of_solvers
    assert len(of_solvers) == 5
    assert {"xentlearn.SoftmaxClassifier", "xentlearn.blocks.RowBlocks"} <= names
    assert {"xentlearn.callbacks.Checkpoint", "xentlearn.dask.SoftmaxClassifier"} <= names
    assert len(FUNCTIONS) == 10
    names = {name.split(".")[1] for name, _, _ in METHODS}
    assert {"fit", "predict", "predict_proba", "score", "loss_gradient", "__call__"} <= names
    assert "set_fit_request" not in names


# --- The docstrings -------------------------------------------------------------------------------


@each_thing
def test_summary_and_sections(thing):
    docstring = read(thing)
    assert docstring.summary, "no docstring"
    assert docstring.summary.rstrip("`")[-1] in ".:", docstring.summary
    unknown = set(docstring.order) - set(SECTIONS)
    assert not unknown
    assert docstring.order == sorted(docstring.order, key=SECTIONS.index)
    for title, lines in docstring.sections.items():
        assert any(lines), f"section {title} is empty"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_modules(module):
    assert module.__doc__.strip()
    assert all(isinstance(name, str) for name in module.__all__)
    assert sorted(module.__all__) == module.__all__
    for name in module.__all__:
        assert hasattr(module, name)


@each_class
def test_classes(cls):
    docstring = read(cls)
    if not inspect.isfunction(cls.__init__):
        assert issubclass(cls, Exception)  # takes a message, and is not made by users
        return
    parameters = parameters_of(cls.__init__)
    parameters.pop("**unknown", None)  # refused with a message; nothing to document
    entries = docstring.entries("Parameters")
    referred = re.search(r"All parameters of ``([\w.]+)`` are parameters here", docstring.text)
    if referred:  # entries are of those that differ
        other = parameters_of(dict(CLASSES)[referred[1]].__init__)
        here = {entry.name for entry in entries}
        assert parameters.keys() - other.keys() <= here
        for name, parameter in other.items():
            assert parameters[name].default == parameter.default
        assert_documents(entries, {name: parameters[name] for name in parameters if name in here})
    else:
        assert_documents(entries, parameters)
    assert "Examples" in docstring.sections
    if issubclass(cls, BaseEstimator):
        assert sorted(parameters) == cls._get_param_names()
        assert "Raises" in docstring.sections


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
def test_functions(name, function):
    docstring = read(function)
    assert_documents(docstring.entries("Parameters"), parameters_of(function))
    if name.startswith("xentlearn.losses."):
        for title in ("Raises", "Warns", "Notes", "Examples"):
            assert title in docstring.sections


@pytest.mark.parametrize(
    ("cls", "method"), [(c, m) for _, c, m in METHODS], ids=[name for name, _, _ in METHODS]
)
def test_methods(cls, method):
    """A section, or the words "Parameters as in ``other``" and what else there is in the text."""
    docstring = read(method)
    parameters = parameters_of(method)
    referred = re.search(r"Parameters as in ``(\w+)``", docstring.text)
    if referred:
        assert "Parameters" not in docstring.sections
        other = getattr(cls, referred[1])
        known = {entry.name: entry for entry in read(other).entries("Parameters")}
        here = {name: p for name, p in parameters.items() if name in known}
        assert here, f"no parameter is that of {referred[1]}"
        assert_documents([known[name] for name in here], here)
        for name in parameters.keys() - here.keys():
            assert f"``{name}``" in docstring.text, f"{name!r} is not documented"
    else:
        assert_documents(docstring.entries("Parameters"), parameters)


@each_callable
def test_returns(function):
    docstring = read(function)
    assert ("Returns" in docstring.sections) == returns_something(function)


def test_attributes_are_those_of_a_fit():
    X = np.random.default_rng(0).normal(size=(30, 2))
    clf = SoftmaxClassifier().fit(X, X[:, 0] > 0)
    fitted = {name for name in vars(clf) if name.endswith("_") and not name.startswith("_")}
    entries = read(SoftmaxClassifier).entries("Attributes")
    documented = [entry.name for entry in entries]
    assert len(set(documented)) == len(documented)
    # there are names only if X has them
    assert set(documented) - {"feature_names_in_"} == fitted
    for entry in entries:
        assert entry.type, entry.name
        assert entry.description, entry.name
