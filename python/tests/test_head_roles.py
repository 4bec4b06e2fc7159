"""Roles of the default model's heads, whose circuit for copying was laid out (models/default)."""

import numpy as np
import pytest

import rapt


@pytest.fixture(scope="module")
def texts(model):
    rng = np.random.default_rng(1)
    return [np.tile(rng.integers(1, model.vocab_size, 16), 2) for _ in range(13)]


@pytest.fixture(scope="module")
def scores(model, texts):
    return [rapt.head_scores(model, text, beginning=[0]) for text in texts]


def test_scores_are_shares_and_stand_beside_chance(model, texts, scores):
    shape = (model.config.num_hidden_layers, model.config.num_attention_heads)
    for role in ("previous token", "duplicate token", "induction", "sink", "local", "broad"):
        for table in (scores[0].scores(role), scores[0].chances(role)):
            assert table.shape == shape and (0 <= table).all() and (table <= 1 + 1e-6).all()
    rows = np.arange(2, len(texts[0]) + 2)  # keys that each but the first sees
    chance = scores[0].chances("previous token")
    np.testing.assert_allclose(chance, np.mean(1 / rows), rtol=1e-6)
    assert np.isnan(scores[0].scores("bracket")).all()
    assert (scores[0].entropy < np.log(len(texts[0]) + 1)).all()
    with pytest.raises(rapt.Error, match="expected previous token"):
        scores[0].scores("hero")


def test_given_tokens_and_links(model, texts):
    text = texts[0]
    everything = rapt.head_scores(
        model,
        text,
        beginning=[0],
        token_class=np.ones(len(text), np.int64),
        links=np.arange(len(text)) - 1,
    )
    plain = rapt.head_scores(model, text, beginning=[0])
    np.testing.assert_allclose(  # all that is not on BOS; its row sees nothing else
        everything.scores("sentence start"), 1 - plain.scores("sink"), atol=1e-5
    )
    assert (everything.scores("bracket")[0, 0] > 0.5) and not np.isnan(
        everything.scores("bracket")
    ).any()
    with pytest.raises(rapt.Error, match="links for 32 tokens"):
        rapt.head_scores(model, text, links=[-1])


def test_alike_heads(model, texts, scores):
    assert scores[0].similarity.shape == (0, 8, 8)
    alike = rapt.head_scores(model, texts[0], beginning=[0], similarity=True).similarity
    assert alike.shape == (4, 8, 8)
    np.testing.assert_allclose(alike, alike.transpose(0, 2, 1))
    np.testing.assert_allclose(np.diagonal(alike, axis1=1, axis2=2), 1, atol=1e-6)
    assert alike[1, 0, 1] > alike[0, 0, 7]  # two induction heads; previous token and broad


def test_roles_and_what_one_head_does_to_another(model, texts, scores):
    roles = rapt.find_head_roles(scores)
    assert roles.texts_needed == 10 and len(roles.findings) == 8 * 32
    named = [f for f in roles.findings if f.named]
    assert {f.role for f in named} >= {"previous token", "induction"}
    for finding in named:
        if finding.role == "broad":
            assert finding.q is None and finding.chance + finding.excess[0] >= 0.9
        else:
            assert finding.q <= 0.05 and finding.excess[0] >= 0.3 * (1 - finding.chance)
            assert 0.95 <= finding.level < 1
        assert finding.excess[0] <= finding.score - finding.chance <= finding.excess[1]
    assert not any(f.named for f in rapt.find_head_roles(scores[:9]).findings)
    before = [f.head for f in named if f.role == "previous token"]
    induction = [f for f in named if f.role == "induction"]
    without = rapt.HeadInterventions()
    for head in before:
        without.gate(head, 0)
    after = [rapt.head_scores(model, t, beginning=[0], interventions=without) for t in texts]
    changes = rapt.score_changes(scores, after, induction)
    assert [c.head for c in changes] == [f.head for f in induction]
    assert all(c.change[1] < -0.5 for c in changes)
