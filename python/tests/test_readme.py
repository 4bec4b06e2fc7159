import pathlib
import re

import rapt

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_quick_start(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) == 1
    names = {}
    exec(blocks[0], names)
    printed = capsys.readouterr().out
    assert "(1, 1000, 8, 64) (1, 8, 1000)" in printed and "causal" in printed
    expected = rapt.attention(names["q"], names["k"], names["v"], mask=rapt.Mask.window(255, 0))
    assert (expected == names["o"]).all()
