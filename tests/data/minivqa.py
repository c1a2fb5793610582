"""Sizes of a small minivqa, and of a smaller one whose folder is all that counts; answers without seeing; scores."""

from collections import Counter, defaultdict

import numpy as np

from digrap.data.mini.vqa.questions import Ask
from digrap.data.mini.vqa.rows import quotas
from digrap.data.mini.vqa.twins import Sizes
from digrap.metrics.vqa.accuracy import accuracies

SMALL = Sizes(
    train=600, val=400, iv_vqa=90, cv_vqa=60, vqa_rephrasings=80, vqa_cp=200, advqa=60, textvqa=60, vizwiz=90, ok_vqa=80
)
TINY = Sizes(*[40] * 10)


def score(rows, texts):
    """The accuracy of answers in percent."""
    return round(100 * float(np.mean(accuracies(texts, [row.answers for row in rows], "official2021"))), 1)


def prior(group):
    """The most frequent training answer of each group of questions."""
    counts = defaultdict(Counter)
    for (form, answer), count in quotas(Sizes().train).items():
        counts[group(Ask(form))][answer] += count
    return {name: found.most_common(1)[0][0] for name, found in counts.items()}
