"""Three real sparse problems from WordNet 3.0: texts, words, and labels in a hierarchy.

Debian's package wordnet-base is downloaded once, by apt-get, and unpacked into a folder
(``WORDNET_CACHE``, by default "wordnet-data" in the directory for temporary files). Nothing is
installed. To fetch the files beforehand, or to look at the problems:

    python benchmarks/versus/wordnet.py
"""

import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

FOLDER = Path(os.environ.get("WORDNET_CACHE", Path(tempfile.gettempdir(), "wordnet-data")))
PARTS = ("noun", "verb", "adj", "adv")
DOWNLOAD = (
    "apt-get update -qq; apt-get download -qq wordnet-base && dpkg -x wordnet-base*.deb . "
    "&& rm wordnet-base*.deb"
)


class Synset(NamedTuple):
    """A meaning: words that share it, and a text that explains it (the gloss)."""

    key: str
    topic: int  # one of 45, WordNet's "lexicographer files"
    words: list
    hypernyms: list  # keys of more general meanings
    gloss: str


@cache
def synsets():
    """All of them, in the order of the files."""
    folder = FOLDER / "usr/share/wordnet"
    if not (folder / "data.noun").exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(DOWNLOAD, shell=True, cwd=FOLDER, check=True, capture_output=True)
    found = []
    for part in PARTS:
        with open(folder / f"data.{part}", encoding="utf-8") as file:
            found += [parsed(line) for line in file if not line.startswith("  ")]  # the licence
    return found


def parsed(line):
    """The synset of a line; the manual page wndb(5) has the format."""
    head, _, gloss = line.partition("|")
    place, topic, kind, n_words, *rest = head.split()
    n_words = int(n_words, 16)
    words = [word.replace("_", " ") for word in rest[: 2 * n_words : 2]]
    pointers = rest[2 * n_words + 1 :]
    quadruples = [pointers[i : i + 4] for i in range(0, 4 * int(rest[2 * n_words]), 4)]
    above = [part + offset for symbol, offset, part, _ in quadruples if symbol in ("@", "@i")]
    return Synset(kind + place, int(topic), words, above, gloss.strip())


def tfidf(texts, **options):
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options).fit_transform(texts)


def shuffled(X, y):
    order = np.random.default_rng(0).permutation(X.shape[0])
    return X[order], y[order]


def topics():
    """The topic of each synset, 0 to 44."""
    return np.array([synset.topic for synset in synsets()])


def words_of_glosses():
    """Words and pairs of words of 117,659 glosses, CSR."""
    return tfidf([synset.gloss for synset in synsets()], min_df=2, ngram_range=(1, 2))


def glosses():
    """(X, y): the words of glosses; their topics, 0 to 44."""
    return shuffled(words_of_glosses(), topics())


def nouns_or_not():
    """(X, y): the words of glosses; 1 for those of nouns."""
    return shuffled(words_of_glosses(), np.array([is_noun(synset) for synset in synsets()], int))


def lemmas():
    """(X, y): two to five letters in a row of 147,306 words, CSR; topics of their first meaning."""
    first = {}
    for synset in synsets():
        for word in synset.words:
            first.setdefault(re.sub(r"\(.*\)", "", word).lower(), synset.topic)
    X = tfidf(first, min_df=3, analyzer="char_wb", ngram_range=(2, 5))
    return shuffled(X, np.array(list(first.values())))


def is_noun(synset):
    return synset.key.startswith("n")


def nouns():
    """The synsets of nouns, which come first."""
    return [synset for synset in synsets() if is_noun(synset)]


def kinds(least=50):
    """A CSR indicator of what the nouns are kinds of.

    The labels are the meanings that stand above at least ``least`` nouns, directly or not.
    """
    place = {synset.key: i for i, synset in enumerate(nouns())}
    parents = [[place[key] for key in noun.hypernyms if key in place] for noun in nouns()]
    above = {}

    def up(i):
        if i not in above:
            above[i] = set(parents[i]).union(*(up(parent) for parent in parents[i]))
        return above[i]

    rows, columns = np.array([(i, j) for i in range(len(parents)) for j in up(i)]).T
    shape = (len(parents), len(parents))
    Y = sparse.csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=shape)
    often = np.flatnonzero(np.asarray(Y.sum(axis=0, dtype=np.int64)).ravel() >= least)
    return Y[:, often].tocsr()


def ancestors():
    """(X, Y): words of 82,115 nouns' glosses, CSR; what they are kinds of, as `kinds` says."""
    return shuffled(tfidf([noun.gloss for noun in nouns()], min_df=2), kinds())


if __name__ == "__main__":
    for make in (glosses, lemmas, ancestors):
        X, y = make()
        n_outputs = f"{y.shape[1]} labels" if y.ndim == 2 else f"{len(np.unique(y))} classes"
        print(f"{make.__name__}: {X.shape[0]:,} x {X.shape[1]:,}, {X.nnz:,} entries, {n_outputs}")
