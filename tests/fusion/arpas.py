"""Small ARPA files for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

Ngram = tuple[str, ...]
PIECES = (0, 1, 33, 60, 200, 8000)  # 33 and 60 are white space to Unicode; 8000 takes three bytes
VOCABULARY = 8192
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


def symbol(token: int) -> str:
    """Return how a piece is written."""
    return chr(token + 100)


def arpa(orders: list[Mapping[Ngram, str]], counts: list[int] | None = None) -> str:
    """Return a file of n-grams → weight, or weight, a tab and back-off."""
    counts = counts or [len(ngrams) for ngrams in orders]
    parts = ["\\data\\", *(f"ngram {order}={count}" for order, count in enumerate(counts, start=1))]
    for order, ngrams in enumerate(orders, start=1):
        parts += ["", f"\\{order}-grams:"]
        for ngram, numbers in ngrams.items():
            weight, _, backoff = numbers.partition("\t")
            parts.append(f"{weight}\t{' '.join(ngram)}" + (f"\t{backoff}" if backoff else ""))
    return "\n".join([*parts, "", "\\end\\", ""])


A, B, SPACE = symbol(0), symbol(1), symbol(60)
SMALL: list[Mapping[Ngram, str]] = [
    {
        (UNKNOWN,): "-2\t0",
        (BEGIN,): "-99\t-0.5",
        (END,): "-1",
        (A,): "-0.5\t-0.25",
        (B,): "-0.75\t-0.125",
        (SPACE,): "-1",
    },
    {(BEGIN, A): "-0.25\t-0.1", (A, B): "-0.2\t-0.3", (B, END): "-0.3", (B, A): "-0.4"},
    {(BEGIN, A, B): "-0.125", (A, B, A): "-0.1"},
]


@st.composite
def models(draw: Any) -> str:
    """Return a random file of 1 to 4 orders: what n-grams begin with is there, what they end with need not be."""
    highest = draw(st.integers(1, 4))
    pieces = draw(st.lists(st.sampled_from(PIECES), min_size=1, unique=True))
    markers = [BEGIN, *draw(st.lists(st.sampled_from([END, UNKNOWN]), unique=True))]
    weights, backoffs = st.integers(0, 5000), st.integers(-3000, 500)

    def numbers() -> str:
        tail = f"\t{draw(backoffs) / 1000}" if draw(st.booleans()) else ""
        return f"{-draw(weights) / 1000}{tail}"

    level = {(word,): numbers() for word in draw(st.permutations([*map(symbol, pieces), *markers]))}
    orders: list[Mapping[Ngram, str]] = [level]
    words = [*map(symbol, pieces), *(word for word in markers if word == END)]
    for _ in range(2, highest + 1):
        contexts = [ngram for ngram in orders[-1] if ngram[-1] not in (END, UNKNOWN)]
        possible = [(*context, word) for context in contexts for word in words]
        chosen = draw(st.lists(st.sampled_from(possible), unique=True, max_size=12)) if possible else []
        orders.append({ngram: numbers() for ngram in chosen})
    return arpa(orders)
