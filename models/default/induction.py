"""Initial weights that hold the rough form of an induction circuit, which training completes.

Copying needs two heads that fit each other: one that writes at each place what the previous token
was, and one that looks for places where that token is the present one, and repeats what stands
there. Each is worth nothing without the other, so that a small model spends most of its training
before the pair appears. Here both are laid out at the start, with random projections P, Q, R:

    layer 0, kv head 0   the 4 query heads look 1, 2, 3, 4 tokens back; v = P x; what the first of
                         them finds is written as Q^T v
    layer 1, all heads   q = P x and k = Q x on the slow rotary pairs: a match where the token
                         before is the present one; v = R x, written back as R^T v

@source  Olsson et al. 2022, arXiv:2209.11895, for the circuit.
"""

import torch
from torch import Tensor

from model import Config, Llama

EMBEDDING_DEVIATION = 0.06
LOOK_BACK_SCORE = 12.0
MATCH_SCALE = 1.7
PREVIOUS_SCALE = 0.17
COPY_SCALE = 0.14


def random_projection(config: Config) -> Tensor:
    """[D, C], rows of about unit length; blind to feature 0, which is the constant."""
    projection = torch.randn(config.head_dim, config.hidden_size) / config.hidden_size**0.5
    projection[:, 0] = 0
    return projection


def look_back(model: Llama) -> None:
    """Query heads of layer 0's kv head 0 start off attending to 1, 2, 3, 4 tokens back.

    Feature 0 of every embedding gets one constant, which no softmax over the vocabulary sees. From
    it, keys get a fixed vector in the four fastest rotary pairs i, and queries that vector turned
    by their offset: score = LOOK_BACK_SCORE * sum_i w_i cos((t - s - offset) theta_i).
    """
    config, attention = model.config, model.model.layers[0].self_attn
    embedding = model.model.embed_tokens.weight
    embedding[:, 0] = EMBEDDING_DEVIATION * config.hidden_size**0.5 / 2
    constant = embedding[0, 0] / embedding.square().mean().sqrt()
    size, half, pairs = config.head_dim, config.head_dim // 2, 4
    theta = config.rope_theta ** (-2 * torch.arange(pairs) / size)
    weight = torch.tensor([1.0, 0.8, 0.6, 0.4])
    amplitude = (size**0.5 * LOOK_BACK_SCORE * weight).sqrt() / constant
    attention.k_proj.weight[:pairs, 0] = amplitude
    for head in range(config.num_attention_heads // config.num_key_value_heads):
        angle, row = (head + 1) * theta, head * size
        attention.q_proj.weight[row : row + pairs, 0] = amplitude * angle.cos()
        attention.q_proj.weight[row + half : row + half + pairs, 0] = -amplitude * angle.sin()


def match_and_copy(model: Llama) -> None:
    """The projections P, Q and R of the layout above."""
    config = model.config
    size, quarter = config.head_dim, config.head_dim // 4
    slow = [*range(quarter, 2 * quarter), *range(3 * quarter, size)]
    first, second = (model.model.layers[i].self_attn for i in (0, 1))
    present, previous = random_projection(config), random_projection(config)
    first.v_proj.weight[:size] = present
    first.o_proj.weight[:, :size] = PREVIOUS_SCALE * previous.T
    group = config.num_attention_heads // config.num_key_value_heads
    for kv_head in range(config.num_key_value_heads):
        copied = random_projection(config)
        keys = second.k_proj.weight[kv_head * size : (kv_head + 1) * size]
        keys[slow] = MATCH_SCALE * previous[slow]
        second.v_proj.weight[kv_head * size : (kv_head + 1) * size] = copied
        for head in range(kv_head * group, (kv_head + 1) * group):
            queries = second.q_proj.weight[head * size : (head + 1) * size]
            queries[slow] = MATCH_SCALE * present[slow]
            second.o_proj.weight[:, head * size : (head + 1) * size] = COPY_SCALE * copied.T


@torch.no_grad()
def initialize(model: Llama) -> None:
    """Normal weights, less for what writes into the residual stream; then the circuit on top."""
    depth_scale = (2 * model.config.num_hidden_layers) ** -0.5
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(parameter, std=0.03 * (depth_scale if residual else 1.0))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_DEVIATION)
    look_back(model)
    match_and_copy(model)
