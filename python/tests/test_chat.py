"""Chat templates of the families against apply_chat_template of transformers."""

import json
import pathlib

import pytest
import transformers

import rapt

MODEL = pathlib.Path(__file__).parents[2] / "models" / "default"

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
{% set system_message = false %}{% endif %}{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
{% endif %}{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
{% endfor %}"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + tool_call.name + '", ' + '"parameters": ' }}
        {{- tool_call.arguments | tojson + "}<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{{ bos_token }}{% for message in messages %}
    {%- if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {%- generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}
    {%- else %}{% continue %}{% endif %}
{%- endfor %}"""

QWEN3 = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') }}
            {{- '\\n</think>\\n\\n' }}
            {{- content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
{%- set loop_messages = messages[1:] -%}
{%- else -%}
{%- set first_user_prefix = "" -%}
{%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {{ item['text'] | trim if item['type'] == 'text' else '<image>' }}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
"""

PHI3 = """{% for message in messages %}{% if message['role'] in ['system', 'user'] %}
{{'<|' ~ message.role ~ '|>\\n' ~ message['content'] ~ '<|end|>\\n'}}
{% elif message['role'] == 'assistant' %}
{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}
{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

OLMO2 = """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}
{% if not loop.last %}
{{ '<|assistant|>\\n' + message['content'] + eos_token + '\\n' }}
{% else %}
{{ '<|assistant|>\\n' + message['content'] + eos_token }}
{% endif %}{% else %}{{ '<|%s|>\\n' % message['role'] + message['content'] + '\\n' }}{% endif %}
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"""

TEMPLATES = {
    "llama2": LLAMA2,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "qwen3": QWEN3,
    "gemma": GEMMA,
    "phi3": PHI3,
    "olmo2": OLMO2,
}

USER = {"role": "user", "content": "  Why is the sky <b>blue</b>? 'Ü' & \"日本\"\n"}
CONVERSATIONS = [
    [USER],
    [USER, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt scatters."}, USER],
    [{"role": "system", "content": "Be brief. "}, USER, {"role": "assistant", "content": "So."}],
]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "now", "description": "The time in <zone>, né?", "parameters": {}},
    }
]


def write_config(directory: pathlib.Path, **fields) -> None:
    (directory / "tokenizer_config.json").write_text(json.dumps(fields))


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("messages", CONVERSATIONS, ids=["first", "second", "system"])
def test_texts_are_those_of_transformers(tmp_path, family, messages):
    reference = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(MODEL / "tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    write_config(
        tmp_path,
        bos_token={"content": "<s>", "special": True},
        eos_token="</s>",
        pad_token=None,
        chat_template=TEMPLATES[family],
    )
    chat = rapt.ChatTemplate.load(tmp_path)
    for add_generation_prompt in [False, True]:
        for options in [{}, {"tools": TOOLS}, {"enable_thinking": False}]:
            assert chat(
                messages, add_generation_prompt=add_generation_prompt, **options
            ) == reference.apply_chat_template(
                messages,
                chat_template=TEMPLATES[family],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **options,
            )


def test_tokens_are_those_of_transformers(tokenizer):
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(MODEL / "tokenizer.json"))
    first = tokenizer.decode(tokenizer.beginning)
    template = "{% for m in messages %}{{ bos_token }}{{ m.content }}\n{% endfor %}"
    text = rapt.ChatTemplate(template, {"bos_token": first})([USER, USER])
    expected = reference(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(text, add_special_tokens=False) == expected
    assert tokenizer.encode(text) == [*tokenizer.beginning, *expected]


def test_a_template_may_be_a_file_or_one_of_several(tmp_path):
    several = [{"name": name, "template": name + "{{ eos_token }}"} for name in ["default", "rag"]]
    write_config(tmp_path, eos_token="</s>", chat_template=several)
    assert rapt.ChatTemplate.load(tmp_path)([USER]) == "default</s>"
    assert rapt.ChatTemplate.load(tmp_path, "rag")([USER]) == "rag</s>"
    with pytest.raises(rapt.Error, match="chat_template: expected one of default, rag, got none"):
        rapt.ChatTemplate.load(tmp_path, "none")
    (tmp_path / "chat_template.jinja").write_text("file{{ eos_token }}")
    assert rapt.ChatTemplate.load(tmp_path)([USER]) == "file</s>"


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(rapt.Error, match="expected a chat template, got none"):
        rapt.ChatTemplate.load(tmp_path)
    for fields, message in [
        ({"chat_template": 1}, r"tokenizer_config\.json chat_template: expected a text or a list"),
        ({"chat_template": [{"name": "a"}]}, r"chat_template\[0\]: expected a name and a template"),
        ({"chat_template": "", "bos_token": 1}, "bos_token: expected a text, got 1"),
        ({"chat_template": "{% for %}"}, "chat template: expected Jinja2"),
    ]:
        write_config(tmp_path, **fields)
        with pytest.raises(rapt.Error, match=message):
            rapt.ChatTemplate.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[")
    with pytest.raises(rapt.Error, match=r"tokenizer_config\.json: expected JSON"):
        rapt.ChatTemplate.load(tmp_path)
    with pytest.raises(rapt.Error, match="must alternate"):
        rapt.ChatTemplate(LLAMA2, {"bos_token": "<s>"})([USER, USER])
    with pytest.raises(rapt.Error, match="expected what the chat template takes, got"):
        rapt.ChatTemplate("{{ 'a' + messages[0].content }}")([{"role": "user", "content": None}])
    for messages in ["Hello", {"role": "user", "content": "Hello"}, ["Hello"]]:
        with pytest.raises(rapt.Error, match="messages: expected a list of mappings, got"):
            rapt.ChatTemplate("")(messages)
    with pytest.raises(rapt.Error, match="chat template: expected Jinja2"):
        rapt.ChatTemplate("{% break %}")
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(rapt.Error, match=r"chat_template\.jinja: expected UTF-8"):
        rapt.ChatTemplate.load(tmp_path)


def test_templates_do_not_leave_the_sandbox():
    for template in [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
    ]:
        with pytest.raises(rapt.Error, match=r"unsafe|undefined"):
            rapt.ChatTemplate(template)([USER])
    for template in [
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
    ]:
        assert rapt.ChatTemplate(template)([USER]) == ""
