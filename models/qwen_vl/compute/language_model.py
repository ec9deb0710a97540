"""The language model: transformers' weights, one packed batch of tokens a pass, one shared KV cache."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.qwen_vl.weights.load_weights import fuse

from .torch_ops import Plain


class Language:
    """`model` is transformers' Qwen2_5_VLForConditionalGeneration; its weights are shared, not copied."""

    def __init__(self, model: Any, ops: Plain) -> None:
        self.ops = ops
        self.text = model.model.language_model
        self.config = self.text.config
        self.table, self.head = self.text.embed_tokens.weight, model.lm_head.weight
        self.heads, self.kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        self.size = self.config.hidden_size // self.heads
        rotary = self.text.rotary_emb
        device = self.table.device
        self.frequencies = rotary.inv_freq.to(device, torch.float32)
        section = self.config.rope_parameters.get("mrope_section", [16, 24, 24])
        self.axis = torch.tensor([i for i, n in enumerate(section) for _ in range(n)], device=device)
        self.turn = float(rotary.attention_scaling)
        self.layers = []
        for layer in self.text.layers:
            attention, mlp = layer.self_attn, layer.mlp
            qkv = fuse([attention.q_proj, attention.k_proj, attention.v_proj], device)
            self.layers.append((layer, *qkv, fuse([mlp.gate_proj, mlp.up_proj], device)[0]))
            if device.type == "cuda":
                torch.cuda.empty_cache()  # avoids fragmentation by the next layer's matrices
        norms = [norm for layer in self.text.layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
        self.norms = [(norm.weight, norm.variance_epsilon) for norm in (*norms, self.text.norm)]

    def forward(self, source: Tensor, positions: Tensor, rows: Tensor, work: Any, images: Tensor, kv: Tensor) -> Tensor:
        """-> the final hidden state [T, width] of every token. Writes their keys and values to the KV cache.

        source int32 [T]: a token id, or -(r+1) for row r of `images`. positions int32 [3, T]. rows int32 [T]: the
        token's row in the KV cache [layers, 2, Hkv, N, D]. work: the items for `ops.attend`.
        """
        ops, scale = self.ops, self.size**-0.5
        picture = (source < 0).unsqueeze(1)
        x = torch.where(picture, images[(-source - 1).clamp_min(0)], self.table[source.clamp_min(0)])
        angles = (positions[self.axis] * self.frequencies.unsqueeze(1)).t().contiguous()
        cos, sin = angles.cos() * self.turn, angles.sin() * self.turn
        h = ops.rms_norm(x, *self.norms[0])
        for i, (layer, qkv_weight, qkv_bias, into) in enumerate(self.layers):
            k, v = kv[i, 0], kv[i, 1]
            qkv = F.linear(h, qkv_weight, qkv_bias).view(len(source), self.heads + 2 * self.kv_heads, self.size)
            q = ops.rotate_store(qkv, cos, sin, rows, k, v)
            seen = F.linear(ops.attend(q, k, v, work, scale), layer.self_attn.o_proj.weight)
            h = ops.add_rms_norm(x, seen, *self.norms[2 * i + 1])
            made = F.linear(ops.silu_mul(F.linear(h, into)), layer.mlp.down_proj.weight)
            h = ops.add_rms_norm(x, made, *self.norms[2 * i + 2])
        return h

    def answer(self, hidden: Tensor, allowed: Tensor, constrained: bool) -> Tensor:
        """hidden [S, width] -> the next token of each row and its log-probabilities, as `ops.sample`."""
        return self.ops.sample(F.linear(hidden, self.head), allowed, constrained)
