import pathlib
import re

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guide"


def test_torch(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (GUIDE / "torch.md").read_text(), re.S)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["report"].passed
    assert len(names["entropy"]) == 4
    assert names["o"].shape == (2, 8, 100, 64)
    assert capsys.readouterr().out == "torch.Size([2, 9])\n"
