"""Conversations as the text that a model was trained on."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from ._core import Error

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_SAFE_JINJA2 = (3, 1, 6)  # templates come with models: older sandboxes have known ways out
_SPECIAL = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token"]


class ChatTemplate:
    """A model's chat template: messages in, the text of a prompt out.

        chat = rapt.ChatTemplate.load("path/of/model")
        text = chat([{"role": "user", "content": "Hello"}])
        tokens = tokenizer.encode(text, add_special_tokens=False)

    Templates are Jinja2; the jinja2 package runs them in its sandbox, with the functions that
    transformers gives them: raise_exception, strftime_now, tojson, and blocks of `generation`.

    variables: what every text may use beside the messages: bos_token, eos_token. Error where the
    template is no Jinja2, ImportError without jinja2 3.1.6 or newer.
    """

    def __init__(self, template: str, variables: Mapping[str, Any] | None = None):
        environment = _environment()
        try:
            self._template = environment.from_string(template)
        except Exception as error:  # Jinja2's own, and Python's for what it is compiled to
            raise Error(f"chat template: expected Jinja2, got {error}") from error
        self._variables = dict(variables or {})

    @classmethod
    def load(cls, path: str | os.PathLike[str], name: str = "default") -> ChatTemplate:
        """The template of a model's directory: chat_template.jinja, else the chat_template of
        tokenizer_config.json, which may have several by name. Error where there is neither, or
        naming the field that is malformed.
        """
        directory = pathlib.Path(path)
        file = directory / "tokenizer_config.json"
        config = _read_object(file) if file.exists() else {}
        alone = directory / "chat_template.jinja"
        if alone.exists() and name == "default":
            try:
                template = alone.read_text(encoding="utf-8")
            except ValueError as error:
                raise Error(f"{alone}: expected UTF-8, got {error}") from error
        elif config.get("chat_template") is not None:
            template = _named(config["chat_template"], name, f"{file} chat_template")
        else:
            raise Error(f"{directory}: expected a chat template, got none")
        return cls(template, _special_tokens(config, str(file)))

    def __call__(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The text of `messages`, and the beginning of the answer with add_generation_prompt.

        variables: what else the template knows, enable_thinking say. Error where the template
        refuses the messages.
        """
        if isinstance(messages, str) or not all(isinstance(m, Mapping) for m in messages):
            raise Error(f"messages: expected a list of mappings, got {messages!r:.60}")
        known = {
            **self._variables,
            "messages": [dict(message) for message in messages],
            "tools": tools,
            "documents": documents,
            "add_generation_prompt": add_generation_prompt,
            **variables,
        }
        try:
            return self._template.render(known)
        except Exception as error:  # the template's own, and Python's for what it meets in messages
            raise Error(f"messages: expected what the chat template takes, got {error}") from error


def _read_object(file: pathlib.Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Error(f"{file}: expected JSON, got {error}") from error
    if not isinstance(config, dict):
        raise Error(f"{file}: expected an object, got {type(config).__name__}")
    return config


def _named(templates: Any, name: str, where: str) -> str:
    if isinstance(templates, str):
        templates = [{"name": "default", "template": templates}]
    if not isinstance(templates, list):
        raise Error(f"{where}: expected a text or a list, got {type(templates).__name__}")
    texts = {}
    for number, entry in enumerate(templates):
        text = entry.get("template") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not isinstance(entry.get("name"), str):
            raise Error(f"{where}[{number}]: expected a name and a template, got {entry!r}")
        texts[entry["name"]] = text
    if name not in texts:
        raise Error(f"{where}: expected one of {', '.join(texts)}, got {name}")
    return texts[name]


def _special_tokens(config: Mapping[str, Any], where: str) -> dict[str, str]:
    tokens = {}
    for name in _SPECIAL:
        token = config.get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if token is None:
            continue
        if not isinstance(token, str):
            raise Error(f"{where} {name}: expected a text, got {token!r}")
        tokens[name] = token
    return tokens


def _environment() -> ImmutableSandboxedEnvironment:
    found = version("jinja2")
    if tuple(int(part) for part in found.split(".")[:3] if part.isdigit()) < _SAFE_JINJA2:
        raise ImportError(f"jinja2: expected 3.1.6 or newer, got {found}")

    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks what the model is trained to write; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    def strftime_now(form: str) -> str:
        return datetime.now().strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    return environment
