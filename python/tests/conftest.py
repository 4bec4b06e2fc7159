"""The default model, loaded once."""

import pathlib

import pytest

import rapt

MODEL = pathlib.Path(__file__).parents[2] / "models" / "default"


@pytest.fixture(scope="session")
def model():
    return rapt.Model.load(MODEL)


@pytest.fixture(scope="session")
def tokenizer():
    return rapt.Tokenizer.load(MODEL)
