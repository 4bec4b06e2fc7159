import pathlib

import numpy as np
import pytest

import rapt

MODEL = pathlib.Path(__file__).parents[2] / "models" / "default"
TEXTS = ["Once upon a time there was", "The", "She said that the", "Once upon a time"]


def run(engine, steps=1000):
    """What came of each request: tokens, log-probabilities, text, finish, error."""
    answers = {}
    while engine.busy and steps:
        for event in engine.step():
            answer = answers.setdefault(event.request, ([], [], "", None, ""))
            assert answer[3] is None, "an event after the end"
            tokens, logprobs = (
                was + ([] if new is None else [new])
                for was, new in zip(answer, (event.token, event.logprob))
            )
            answers[event.request] = (
                tokens,
                logprobs,
                answer[2] + event.text,
                event.finish,
                event.error,
            )
        steps -= 1
    assert not engine.busy
    return answers


def alone(model, prompt, count, sampler):
    """Tokens and log-probabilities of a session."""
    session, context, tokens, logprobs = rapt.Session(model), list(prompt), [], []
    pending = context
    for _ in range(count):
        logits = session.prefill(pending)
        token = sampler.next(logits, context)
        x = logits.astype(np.float64)
        logprobs.append(x[token] - x.max() - np.log(np.exp(x - x.max()).sum()))
        tokens.append(token)
        context = [*context, token]
        if model.ends_text(token):
            break
        pending = [token]
    return tokens, logprobs


def test_requests_in_a_batch_are_those_of_sessions_alone(model, tokenizer):
    engine = rapt.Engine(model, page_size=16, max_step_tokens=5, tokenizer=tokenizer)
    prompts = [tokenizer.encode(text) for text in TEXTS]
    samplers = [{"temperature": 0.9, "top_k": 40, "seed": n} for n in range(3)] + [{}]
    ids = [
        engine.submit(prompt, max_new_tokens=12 + n, logprobs=n != 1, **sampler)
        for n, (prompt, sampler) in enumerate(zip(prompts, samplers))
    ]
    assert engine.metrics.queued == 4
    answers = run(engine)
    for n, request in enumerate(ids):
        tokens, logprobs, text, finish, _ = answers[request]
        expected = alone(model, prompts[n], 12 + n, rapt.Sampler(**samplers[n]))
        assert tokens == expected[0]
        np.testing.assert_allclose(logprobs, expected[1] if n != 1 else [], rtol=1e-12)
        assert finish == ("stop" if model.ends_text(tokens[-1]) else "length")
        assert tokenizer.decode(prompts[n] + tokens).endswith(text) and text
    metrics = engine.metrics
    assert metrics.queued == metrics.running == 0
    assert metrics.new_tokens == sum(len(answer[0]) for answer in answers.values())
    assert metrics.steps < metrics.new_tokens, "they ran together"
    assert (
        metrics.first_token.count == 4 and metrics.first_token.max >= metrics.first_token.mean > 0
    )
    assert metrics.between_tokens.count == metrics.new_tokens - 4
    assert metrics.tokens_per_second > 0


def test_pages_that_run_out_show_in_no_token(model):
    prompts = [np.arange(n, n + 20) for n in range(3)]

    def answers_of(**config):
        engine = rapt.Engine(model, page_size=16, reuse_prefixes=False, **config)
        for seed, prompt in enumerate(prompts):
            engine.submit(prompt, max_new_tokens=25, temperature=1.0, seed=seed)
        return run(engine), engine.metrics

    enough, metrics = answers_of()
    assert metrics.preemptions == 0
    few, metrics = answers_of(pages=6)
    assert metrics.preemptions > 0 and metrics.pages_free == 6
    assert few == enough

    engine = rapt.Engine(model, page_size=16, pages=2)
    request = engine.submit(range(30), max_new_tokens=100)
    tokens, *_, finish, _ = run(engine)[request]
    assert finish in ("context", "stop") and len(tokens) <= 3
    with pytest.raises(rapt.Error, match=r"Request.prompt: expected at most 32 tokens, got 33"):
        engine.submit(range(33))


def test_prefixes_are_reused(model):
    engine = rapt.Engine(model, page_size=16)
    first = engine.submit(range(50), max_new_tokens=5)
    answers = run(engine)
    second = engine.submit(range(50), max_new_tokens=5)
    answers |= run(engine)
    assert answers[first] == answers[second]
    assert engine.metrics.prefix_hits == 1 and engine.metrics.prefix_tokens == 48
    assert engine.metrics.pages_used > 0


def test_cancels(model, tokenizer):
    engine = rapt.Engine(model)
    prompt = tokenizer.encode(TEXTS[0])
    ids = [engine.submit(prompt, max_new_tokens=6) for _ in range(2)]
    engine.step()
    assert engine.metrics.running == 2
    assert engine.cancel(ids[0]) and not engine.cancel(ids[0]) and not engine.cancel(99)
    answers = run(engine)
    assert answers[ids[0]][0] == [] and answers[ids[0]][3] == "cancelled"
    assert answers[ids[1]][3] == "length"


def test_stops(model, tokenizer):
    engine = rapt.Engine(model, tokenizer=tokenizer)
    prompt = tokenizer.encode(TEXTS[0])
    whole = engine.submit(prompt, max_new_tokens=20)
    tokens, _, text, *_ = run(engine)[whole]
    by_token = engine.submit(prompt, max_new_tokens=20, stop_tokens=tokens[3:4])
    by_string = engine.submit(prompt, max_new_tokens=20, stop_strings=[text[5:8]])
    answers = run(engine)
    assert answers[by_token][0] == tokens[: tokens.index(tokens[3]) + 1]
    assert answers[by_string][2] == text[: text.index(text[5:8])]
    assert answers[by_token][3] == answers[by_string][3] == "stop"


@pytest.mark.parametrize("cache", ["bfloat16", "int8", "fp8_e4m3"])
def test_caches_of_fewer_bytes(model, cache):
    engine = rapt.Engine(model, cache=cache, cache_bytes=1 << 22)
    whole = rapt.Engine(model, cache_bytes=1 << 22)
    assert engine.metrics.pages_free > 1.9 * whole.metrics.pages_free
    request = engine.submit(range(40), max_new_tokens=10)
    tokens, *_ = run(engine)[request]
    session = rapt.Model.load(MODEL, cache=cache)
    assert tokens == alone(session, range(40), 10, rapt.Sampler())[0]


def test_refuses(model):
    engine = rapt.Engine(model)
    for refused, got in [
        (lambda: rapt.Engine(model, page_size=17), "a multiple of 16, got 17"),
        (lambda: rapt.Engine(model, max_step_tokens=0), "max_step_tokens"),
        (lambda: rapt.Engine(model, cache="fp8"), "Engine.cache"),
        (lambda: engine.submit([model.vocab_size]), "Request.prompt[0]"),
        (lambda: engine.submit([1 << 40]), "Engine.submit.prompt"),
        (lambda: engine.submit("text"), "Engine.submit.prompt"),
        (lambda: engine.submit([1], max_new_tokens=-1), "Request.max_new_tokens"),
        (lambda: engine.submit([1], top_p=2.0), "top_p"),
        (lambda: engine.submit([1], stop_tokens=[-1]), "Request.stop_tokens[0]"),
        (lambda: engine.submit([1], stop_strings=["a"]), "as the engine has no tokenizer"),
        (lambda: engine.submit(range(model.context + 1)), "Request.prompt"),
    ]:
        with pytest.raises(rapt.Error, match="expected") as error:
            refused()
        assert got in str(error.value)
    assert not engine.busy and engine.step() == []
