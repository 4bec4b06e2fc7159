"""Topic 4.4, what heads attend to: roles of the default model's heads on random tokens that are
repeated, with intervals over texts, and what taking heads away does to other heads."""

import pathlib

import numpy as np
from example import Proof

import rapt

proof = Proof()
model = rapt.Model.load(pathlib.Path(__file__).parents[1] / "models" / "default")
rng = np.random.default_rng(1)
texts = [np.tile(rng.integers(1, model.vocab_size, 24), 2) for _ in range(16)]


def scores_without(*heads: tuple[int, int]) -> list[rapt.HeadScores]:
    interventions = rapt.HeadInterventions()
    for head in heads:
        interventions.gate(head, 0)
    return [
        rapt.head_scores(model, text, beginning=[0], interventions=interventions) for text in texts
    ]


before = scores_without()
roles = rapt.find_head_roles(before)
named = {
    role: [f for f in roles.findings if f.named and f.role == role]
    for role in ("previous token", "induction")
}
for role, findings in named.items():
    for f in findings:
        low, high = (f.chance + end for end in f.excess)
        print(f"{role:16} {f.head}  {f.score:.2f} [{low:.2f}, {high:.2f}]  chance {f.chance:.2f}")
    proof(findings, f"there are heads of the role {role}")
one = rapt.find_head_roles(before[:1])
proof(
    not any(f.named for f in one.findings),
    f"one text names no head: {one.texts_needed} are needed",
)

after = scores_without(*(f.head for f in named["previous token"]))
changes = rapt.score_changes(before, after, named["induction"])
print("\nwithout the previous-token heads")
for c in changes:
    low, high = c.change
    print(f"induction {c.head}  {c.before:.2f} -> {c.after:.2f}  change [{low:+.2f}, {high:+.2f}]")
proof(all(c.change[1] < -0.5 for c in changes), "the induction heads look away")
proof.exit()
