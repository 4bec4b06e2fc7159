"""Text, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ._core import Model, Sampler, Session


def generate(
    model: Model,
    tokens: Sequence[int],
    max_tokens: int,
    *,
    sampler: Sampler | None = None,
) -> Iterator[int]:
    """The tokens that follow `tokens`, as they are drawn: `max_tokens`, fewer where the text ends.

    Without a sampler each is the most likely one. The token that ends a text is not yielded.
    """
    draw = sampler or Sampler()
    context = list(tokens)
    session = Session(model, len(context) + max_tokens)
    pending = context
    for _ in range(max_tokens):
        token = draw.next(session.prefill(pending), context)
        if model.ends_text(token):
            return
        yield token
        context.append(token)
        pending = [token]
