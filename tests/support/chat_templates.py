"""Chat templates in the shapes of well-known models, written by hand for the tests, and tokenizers of bytes for them."""

from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, processors
from transformers import PreTrainedTokenizerFast

from tests.support.chats import byte_tokenizer, chat_model

CALLS = (  # as the Qwen family writes them
    "{% for c in m.tool_calls %}{{ '\n' if m.content or not loop.first }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
)
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% if messages and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n\n"
    "{% endif %}# Tools\n<tools>{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools><|im_end|>\n"
    "{% elif messages[0]['role'] == 'system' %}<|im_start|>system\n{{ messages[0]['content'] }}<|im_end|>\n"
)
TOOL_TURNS = (  # neighbours share a turn of the user
    "{% if loop.first or loop.previtem.role != 'tool' %}<|im_start|>user{% endif %}\n<tool_response>\n{{ m.content }}\n"
    "</tool_response>{% if loop.last or loop.nextitem.role != 'tool' %}<|im_end|>\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n\n' + system + '<|eot_id|>' }}"
    "{%- for m in messages %}{%- if tools and loop.first and m.role == 'user' %}"
    "{{- '<|start_header_id|>user<|end_header_id|>\n\nGiven these functions:\n' }}"
    "{%- for t in tools %}{{- t | tojson + '\n' }}{%- endfor %}{{- m['content'] | trim + '<|eot_id|>' }}"
    "{%- elif m.role == 'tool' or m.role == 'ipython' %}{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' }}"
    "{{- m.content | tojson + '<|eot_id|>' }}"
    "{%- elif 'tool_calls' in m %}{%- if m.tool_calls | length != 1 %}"
    "{{- raise_exception('This model only supports single tool-calls at once!') }}{%- endif %}"
    "{%- set call = m.tool_calls[0].function %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{{- '{\"name\": \"' + call.name + '\", \"parameters\": ' }}{{- call.arguments | tojson }}{{- '}<|eot_id|>' }}"
    "{%- else %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
QWEN25 = (
    TOOLS + "{% else %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' or (m.role == 'system' and not loop.first) or "
    "(m.role == 'assistant' and not m.tool_calls) %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant\n{{ m.content }}" + CALLS + "<|im_end|>\n"
    "{% elif m.role == 'tool' %}" + TOOL_TURNS + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = (  # what was thought before the last question is left out
    TOOLS + "{% endif %}{% set ns = namespace(last=messages | length - 1, found=false) %}"
    "{% for m in messages[::-1] %}{% if not ns.found and m.role == 'user' %}"
    "{% set ns.last = messages | length - 1 - loop.index0 %}{% set ns.found = true %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' or (m.role == 'system' and not loop.first) %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}{% set content = m.content %}{% set thought = '' %}"
    "{% if m.reasoning_content is string %}{% set thought = m.reasoning_content %}{% elif '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "<|im_start|>assistant\n{% if loop.index0 > ns.last and (loop.last or thought) %}<think>\n{{ thought.strip('\n') }}\n"
    "</think>\n\n{{ content.lstrip('\n') }}{% else %}{{ content }}{% endif %}" + CALLS + "<|im_end|>\n"
    "{% elif m.role == 'tool' %}" + TOOL_TURNS + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MISTRAL = (  # system message and tools stand before the last question
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set talk = messages[1:] %}"
    "{%- else %}{%- set talk = messages %}{%- endif %}{%- set users = talk | selectattr('role', 'equalto', 'user') | list %}"
    "{{- bos_token }}{%- for m in talk %}{%- if loop.first and m.role != 'user' %}"
    "{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{%- endif %}"
    "{%- if m.role == 'user' %}{%- if tools and m == users[-1] %}"
    "{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{%- endif %}"
    "{%- if system is defined and m == users[-1] %}{{- '[INST] ' + system + '\n\n' + m.content + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + m.content + '[/INST]' }}{%- endif %}"
    "{%- elif m.tool_calls is defined %}{{- '[TOOL_CALLS] [' }}{%- for c in m.tool_calls %}"
    "{%- if c.id is not defined or c.id | length != 9 %}"
    "{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{%- endif %}"
    "{{- c.function | tojson }}{{- ', ' if not loop.last else ']' + eos_token }}{%- endfor %}"
    "{%- elif m.role == 'assistant' %}{{- ' ' + m.content | trim + eos_token }}"
    "{%- elif m.role == 'tool' %}{{- '[TOOL_RESULTS] ' + m.content + '[/TOOL_RESULTS]' }}"
    "{%- else %}{{- raise_exception('Only user, assistant and tool roles are supported') }}{%- endif %}{%- endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (  # the end of the text follows the last turn
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI4 = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
R1 = (  # takes the arguments of calls as texts, and opens the reasoning in the prompt
    "{% set ns = namespace(system='', after=false) %}{% for m in messages if m.role == 'system' %}"
    "{% set ns.system = m.content %}{% endfor %}{{ bos_token }}{{ ns.system }}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.after = false %}{{ '<|User|>' + m.content }}"
    "{% elif m.role == 'assistant' and m.tool_calls %}{{ '<|Assistant|>' + m.content }}{% for c in m.tool_calls %}"
    "{{ '<|call|>' + c.type + '<|sep|>' + c.function.name + '\n```json\n' + c.function.arguments + '\n```<|end_of_call|>' }}"
    "{% endfor %}{{ eos_token }}"
    "{% elif m.role == 'assistant' %}{% set content = m.content %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ ('' if ns.after else '<|Assistant|>') + content + eos_token }}{% set ns.after = false %}"
    "{% elif m.role == 'tool' %}{% set ns.after = true %}{{ '<|output|>' + m.content + '<|end_of_output|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt and not ns.after %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)


class Shape(NamedTuple):
    """A template, its special tokens, and tokens that are added without being declared as special."""

    template: str
    special: tuple[str, ...]
    added: tuple[str, ...] = ()


IM = ("<|im_start|>", "<|im_end|>")
QWEN_ADDED = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
SHAPES = {
    "chatml": Shape(CHATML, IM),
    "llama3": Shape(LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "qwen2.5": Shape(QWEN25, IM, QWEN_ADDED[:4]),
    "qwen3": Shape(QWEN3, IM, QWEN_ADDED),
    "mistral": Shape(
        MISTRAL,
        (*(f"[{end}{name}]" for name in ("INST", "AVAILABLE_TOOLS", "TOOL_RESULTS") for end in ("", "/")), "[TOOL_CALLS]"),
    ),
    "gemma": Shape(GEMMA, ("<start_of_turn>", "<end_of_turn>")),
    "phi3": Shape(PHI3, ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")),
    "phi4": Shape(PHI4, (*IM, "<|im_sep|>")),
    "r1": Shape(
        R1,
        ("<|User|>", "<|Assistant|>", "<|call|>", "<|sep|>", "<|end_of_call|>", "<|output|>", "<|end_of_output|>"),
        ("<think>", "</think>"),
    ),
}


def shaped_tokenizer(name: str, swallow: tuple[str, ...] = (), begins: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes with the template of a shape.

    Args:
        name: Name of the shape.
        swallow: Special tokens that swallow the white space after them.
        begins: Whether the tokenizer begins texts with its BOS.
    """
    shape = SHAPES[name]
    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>", *shape.special], shape.template)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in shape.added])
    tokenizer.add_tokens([AddedToken(token, rstrip=True, normalized=False, special=True) for token in swallow])
    if begins:
        adds = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        tokenizer.backend_tokenizer.post_processor = adds
    return tokenizer


def shaped_model(folder: Path, name: str, **how: bool | tuple[str, ...]) -> str:
    """Folder of a tiny model with the tokenizer of a shape."""
    tokenizer = shaped_tokenizer(name, **how)  # type: ignore[arg-type]
    chat_model(folder, config={"vocab_size": len(tokenizer), "max_position_embeddings": 1024})
    tokenizer.save_pretrained(folder)
    return str(folder)
