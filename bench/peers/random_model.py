"""Writes a model of half a billion random parameters in bf16, for model_speed.py: speed needs no sense.

    pip install torch==2.13.0 transformers==5.24.0
    python bench/peers/random_model.py models/default build/random-0.5b

Its shape is that of the case model/bf16/0.5b of `rapt bench`; the tokenizer is MODEL's.
"""

import argparse
import pathlib
import shutil

import torch
import transformers


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL", help="directory of a tokenizer.json")
    parser.add_argument("output", type=pathlib.Path, metavar="OUTPUT", help="directory to write")
    args = parser.parse_args()
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=None,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(args.output)
    shutil.copy(args.model / "tokenizer.json", args.output)


if __name__ == "__main__":
    main()
