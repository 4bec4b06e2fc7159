"""Writes the first held-out stories as files, a text each, for `rapt heads` and `rapt ablate`:

python held_out.py --corpora FOLDER --out texts --stories 20
"""

import argparse
import pathlib

import data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=pathlib.Path, required=True, help="folder of the texts")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="new folder of the stories")
    parser.add_argument("--stories", type=int, default=20)
    options = parser.parse_args()
    (corpus,) = (corpus for corpus in data.CORPORA if corpus.name == "tinystories")
    options.out.mkdir(parents=True)
    for n, story in enumerate(data.read_split(options.corpora, corpus).held_out[: options.stories]):
        (options.out / f"{n:02}.txt").write_text(story, encoding="utf-8")


if __name__ == "__main__":
    main()
