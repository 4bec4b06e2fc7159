"""Text, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ._core import Model, Sampler, Session


def generate(
    model: Model,
    tokens: Sequence[int],
    max_tokens: int,
    *,
    sampler: Sampler | None = None,
    encoder_input: Sequence[int] | None = None,
) -> Iterator[int]:
    """The tokens that follow `tokens`, as they are drawn: `max_tokens`, fewer where the text ends.

    Without a sampler each is the most likely one. The token that ends a text is not yielded.

    Of an encoder-decoder, `encoder_input` are the tokens that its encoder reads; the text then
    begins with the model's `decoder_start_token_ids`, before `tokens`, which may be none.
    """
    draw = sampler or Sampler()
    context = [*model.config.decoder_start_token_ids, *tokens]
    session = Session(model, len(context) + max_tokens)
    if encoder_input is not None:
        session.encode(encoder_input)
    pending = context
    for _ in range(max_tokens):
        logits = session.prefill(pending)
        logits[model.config.suppressed_token_ids] = -math.inf
        token = draw.next(logits, context)
        if model.ends_text(token):
            return
        yield token
        context.append(token)
        pending = [token]
