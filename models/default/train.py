"""Trains the default model from the texts: tokenizer, weights, loss curve. See README.md."""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys
import time

import numpy as np
import torch
from torch import Tensor

import data
from induction import initialize
from model import Config, Llama, export, token_losses, write_atomically
from muon import Muon

MINUTE = 60.0


@dataclasses.dataclass(frozen=True)
class Phase:
    """Some steps on sequences of one length; `copying` is the share of sequences that repeat."""

    name: str
    steps: int
    batch: int
    length: int
    copying: float
    longest_span: int


PHASES = (
    Phase("copy", 100, 16, 256, 1.0, 120),
    Phase("text", 1300, 16, 256, 0.15, 120),
    Phase("long", 500, 8, 512, 0.15, 240),
)
WARMUP_STEPS = 50
# What nothing predicts counts little: enough to learn that it is random, not to drown the rest.
RANDOM_WEIGHT = 0.1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=pathlib.Path, required=True, help="folder of the texts")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the model")
    parser.add_argument("--checkpoint", type=pathlib.Path, help="resume from and save to this file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=100, help="steps between measurements")
    return parser.parse_args()


def draw_batch(
    rng: np.random.Generator, phase: Phase, text: data.TextSampler, vocab_size: int
) -> tuple[Tensor, Tensor]:
    """-> ids [B, T] and the weight of each predicted token's loss [B, T - 1]."""
    alphabet = np.delete(np.arange(vocab_size), text.bos)
    copies = round(phase.copying * phase.batch + rng.uniform(-0.5, 0.5))
    rows, predictable = [], []
    for i in range(phase.batch):
        if i < copies:
            ids, known = data.draw_copy(rng, alphabet, phase.length, phase.longest_span, text.bos)
        else:
            ids, known = text.draw(rng, phase.length), np.ones(phase.length, bool)
        rows.append(ids)
        predictable.append(known)
    known = torch.from_numpy(np.stack(predictable))[:, 1:]
    return torch.from_numpy(np.stack(rows)), torch.where(known, 1.0, RANDOM_WEIGHT)


class Trainer:
    """State of a run: model, optimizers, random numbers, place in the schedule, curve."""

    def __init__(self, options: argparse.Namespace, text: data.TextSampler, config: Config):
        self.options, self.text = options, text
        torch.manual_seed(options.seed)
        self.rng = np.random.default_rng(options.seed)
        self.model = Llama(config)
        initialize(self.model)
        named = list(self.model.model.layers.named_parameters())
        matrices = [p for _, p in named if p.dim() == 2]
        others = [p for p in self.model.parameters() if all(p is not q for q in matrices)]
        self.optimizers = [
            Muon(matrices, lr=options.rate, weight_decay=0.1),
            torch.optim.AdamW(
                others, lr=options.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
            ),
        ]
        self.phase, self.step, self.total_steps, self.tokens, self.seconds = 0, 0, 0, 0, 0.0
        self.curve: list[dict] = []

    def rate(self) -> float:
        """Linear warm-up, a long constant stretch, and a linear fall to 0 over the last phase."""
        warm = min(1.0, (self.total_steps + 1) / WARMUP_STEPS)
        last = self.phase == len(PHASES) - 1
        return self.options.rate * warm * (1 - self.step / PHASES[-1].steps if last else 1.0)

    def train_step(self) -> float:
        """One update; -> the mean loss of the tokens that count."""
        phase = PHASES[self.phase]
        ids, weights = draw_batch(self.rng, phase, self.text, self.model.config.vocab_size)
        loss = (token_losses(self.model, ids) * weights).sum() / weights.sum()
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.rate()
            optimizer.step()
        self.step += 1
        self.total_steps += 1
        self.tokens += ids.numel()
        return loss.item()

    def save(self) -> None:
        if self.options.checkpoint is None:
            return
        state = {key: value for key, value in vars(self).items() if key in RESUMED}
        state["model"] = self.model.state_dict()
        state["optimizers"] = [optimizer.state_dict() for optimizer in self.optimizers]
        temporary = self.options.checkpoint.with_suffix(".part")
        torch.save(state, temporary)
        os.replace(temporary, self.options.checkpoint)

    def resume(self) -> None:
        if self.options.checkpoint is None or not self.options.checkpoint.exists():
            return
        state = torch.load(self.options.checkpoint, weights_only=False)
        self.model.load_state_dict(state.pop("model"))
        for optimizer, stored in zip(self.optimizers, state.pop("optimizers"), strict=True):
            optimizer.load_state_dict(stored)
        vars(self).update(state)


RESUMED = {"rng", "phase", "step", "total_steps", "tokens", "seconds", "curve"}


class Progress:
    """Held-out bits a byte and the copying test on a small fixed sample, for the curve."""

    def __init__(self, tokenizer, splits: list[data.Split], config: Config):
        rng = np.random.default_rng(0)
        copies = data.copy_test(rng, config.vocab_size, config.bos_token_id, 8)
        self.copies = torch.from_numpy(copies)
        self.texts = [data.windows(tokenizer, s.held_out, 256)[:8] for s in splits]

    @torch.no_grad()
    def measure(self, model: Llama) -> dict:
        """Means over the texts, each of 8 windows; and both halves of the copying test."""
        bits = [
            sum(float(token_losses(model, w.ids[None]).sum()) for w in text)
            / sum(w.size_bytes for w in text)
            / math.log(2)
            for text in self.texts
        ]
        copied = token_losses(model, self.copies)
        half = copied.shape[1] // 2
        return {
            "held_out_bits_per_byte": round(sum(bits) / len(bits), 4),
            "copy_first_half": round(float(copied[:, :half].mean()), 4),
            "copy_second_half": round(float(copied[:, half:].mean()), 4),
        }


def record(trainer: Trainer, progress: Progress, phase: str, losses: list[float]) -> None:
    """Adds a row to the curve, shows it, and saves the run."""
    row = {
        "phase": phase,
        "step": trainer.total_steps,
        "tokens": trainer.tokens,
        "seconds": round(trainer.seconds),
        "train_loss": round(sum(losses) / len(losses), 4),
        **progress.measure(trainer.model),
    }
    trainer.curve.append(row)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    export(trainer.model, trainer.options.out)
    lines = ",\n".join(json.dumps(row) for row in trainer.curve)
    write_atomically(trainer.options.out / "training.json", f"[\n{lines}\n]\n")
    trainer.save()


def show(trainer: Trainer, loss: float) -> None:
    """One line, overwritten, on a terminal."""
    if sys.stderr.isatty():
        phase = PHASES[trainer.phase]
        print(
            f"\r{phase.name} {trainer.step}/{phase.steps}  loss {loss:.3f}"
            f"  {trainer.seconds / MINUTE:.1f} min ",
            end="",
            file=sys.stderr,
            flush=True,
        )


def run(trainer: Trainer, progress: Progress) -> None:
    """All phases, from wherever the trainer stands."""
    losses: list[float] = []
    while trainer.phase < len(PHASES):
        start = time.monotonic()
        losses.append(trainer.train_step())
        trainer.seconds += time.monotonic() - start
        show(trainer, losses[-1])
        over = trainer.step == PHASES[trainer.phase].steps
        name = PHASES[trainer.phase].name
        if over:
            trainer.phase, trainer.step = trainer.phase + 1, 0
        if over or trainer.total_steps % trainer.options.every == 0:
            record(trainer, progress, name, losses)
            losses = []


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    options.out.mkdir(parents=True, exist_ok=True)
    config = Config()
    splits = data.read_splits(options.corpora)
    tokenizer = data.train_tokenizer(splits, config.vocab_size, options.out / "tokenizer.json")
    trainer = Trainer(options, data.TextSampler(tokenizer, splits), config)
    trainer.resume()
    run(trainer, Progress(tokenizer, splits, config))


if __name__ == "__main__":
    main()
