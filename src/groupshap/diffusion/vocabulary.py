"""A tokenizer of our own: byte-pair merges learnt from some prompts (Sennrich et al. 2016, algorithm 1), as CLIP's.

CLIP's own 49 408 tokens would be most of a small text encoder's weights, and would have to be fetched. The package
``tokenizers`` learns merges too, but breaks ties differently in every process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

__all__ = ["learn_merges", "learn_tokenizer"]

_END_OF_WORD = "</w>"
_START, _END = "<|startoftext|>", "<|endoftext|>"

Word = tuple[str, ...]
"""Its tokens so far; the last one carries the mark of a word's end."""


def learn_tokenizer(prompts: Iterable[str], n_merges: int, n_tokens: int) -> CLIPTokenizer:
    """A tokenizer that knows every byte, and the words that are frequent in the prompts as one token each.

    Args:
        prompts: Their order plays no part.
        n_merges: At most so many tokens beside the bytes.
        n_tokens: Length of every encoded prompt, start and end included.
    """
    like = CLIPTokenizer().backend_tokenizer  # without a vocabulary: only how it splits a text into words
    counts: Counter[Word] = Counter()
    for prompt in prompts:
        words = like.pre_tokenizer.pre_tokenize_str(like.normalizer.normalize_str(prompt))
        counts.update((*word[:-1], word[-1] + _END_OF_WORD) for word, _ in words)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges(counts, n_merges)
    single = (*letters, *(letter + _END_OF_WORD for letter in letters))
    tokens = dict.fromkeys((*single, *("".join(merge) for merge in merges), _START, _END))
    return CLIPTokenizer({token: number for number, token in enumerate(tokens)}, merges, model_max_length=n_tokens)


def learn_merges(counts: Counter[Word], n_merges: int) -> list[tuple[str, str]]:
    """Join the most frequent pair of neighbouring tokens, ``n_merges`` times; equally frequent pairs by their letters.

    Stops early where no pair occurs twice.
    """
    words, merges = dict(counts), []
    while len(merges) < n_merges:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        words = _joined(words, best)
    return merges


def _joined(words: dict[Word, int], pair: tuple[str, str]) -> dict[Word, int]:
    joined: Counter[Word] = Counter()
    for word, n in words.items():
        joined[_join(word, pair)] += n
    return dict(joined)


def _join(word: Sequence[str], pair: tuple[str, str]) -> Word:
    tokens: list[str] = []
    position = 0
    while position < len(word):
        step = 2 if tuple(word[position : position + 2]) == pair else 1
        tokens.append("".join(word[position : position + step]))
        position += step
    return tuple(tokens)
