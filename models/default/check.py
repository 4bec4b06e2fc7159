"""Checks an exported model against transformers: the same logits, the same tokens."""

import argparse
import pathlib

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM

from model import load

TEXT = "Once upon a time, “there” was a café.\n\n  1 + 1 = 2 😀 it's"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="folder of the model")
    folder = parser.parse_args().model
    ours = load(folder)
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    context = ours.config.max_position_embeddings
    ids = torch.randint(
        ours.config.vocab_size, (2, context), generator=torch.Generator().manual_seed(1)
    )
    difference = float((ours(ids) - theirs(ids).logits).abs().max())
    print(f"largest difference of a logit: {difference:.2e}")
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    same = tokens == AutoTokenizer.from_pretrained(folder).encode(TEXT)
    back = Tokenizer.from_file(str(folder / "tokenizer.json")).decode(tokens) == TEXT
    print(f"tokens equal: {same}; decoded text equal: {back}")
    if difference > 1e-3 or not same or not back:
        raise SystemExit("the export differs")


if __name__ == "__main__":
    main()
