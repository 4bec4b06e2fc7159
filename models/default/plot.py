"""Draws loss.svg from training.json."""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "rapt"  # the same file from the same numbers

from matplotlib import pyplot as plt  # noqa: E402


def draw(rows: list[dict], path: pathlib.Path) -> None:
    """Left: held-out bits a byte; right: both halves of the copying test; over tokens seen."""
    tokens = [row["tokens"] / 1e6 for row in rows]
    starts = [i for i in range(1, len(rows)) if rows[i]["phase"] != rows[i - 1]["phase"]]
    figure, (text, copy) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    text.plot(tokens, [row["held_out_bits_per_byte"] for row in rows], color="tab:blue")
    text.set_ylabel("bits a byte")
    text.set_title("Held-out text, mean of six texts")
    copy.plot(
        tokens, [row["copy_first_half"] for row in rows], color="tab:gray", label="first half"
    )
    copy.plot(
        tokens, [row["copy_second_half"] for row in rows], color="tab:red", label="second half"
    )
    copy.set_ylabel("loss, nats a token")
    copy.set_ylim(0, 12)
    copy.set_title("128 random tokens, twice")
    copy.legend()
    for axes in (text, copy):
        axes.set_xlabel("training tokens, millions")
        axes.grid(alpha=0.3)
        for i in starts:
            axes.axvline(tokens[i - 1], color="black", linestyle=":", linewidth=1)
            axes.annotate(
                f" {rows[i]['phase']}",
                (tokens[i - 1], 0.96),
                xycoords=("data", "axes fraction"),
                va="top",
                fontsize=9,
            )
    temporary = path.with_suffix(".part")
    figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="folder of the model")
    folder = parser.parse_args().model
    draw(json.loads((folder / "training.json").read_text(encoding="utf-8")), folder / "loss.svg")


if __name__ == "__main__":
    main()
