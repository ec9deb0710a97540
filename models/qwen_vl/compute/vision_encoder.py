"""The vision encoder: transformers' weights, all images of a batch packed in one pass, which runs in slices."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.qwen_vl.inputs.image_processor import CELL, MEAN, MERGE, PATCH, STD, layout, patches, to_device
from models.qwen_vl.weights.load_weights import bring_back, fuse, set_aside, widen

from .attention import Ranges
from .torch_ops import Plain

PAD = 64  # the MLP's 3,420 columns are padded to 3,456 with zeros: same results, faster matrix kernels


class Vision:
    """`tower`: transformers' `model.visual`; its weights are shared, not copied."""

    def __init__(self, tower: Any, ops: Plain) -> None:
        self.ops, self.tower = ops, tower
        self.config = tower.config
        self.device, self.dtype = tower.patch_embed.proj.weight.device, tower.patch_embed.proj.weight.dtype
        self.mean, self.std = (torch.tensor(x, device=self.device) for x in (MEAN, STD))
        head = self.config.hidden_size // self.config.num_heads
        self.scale = head**-0.5
        spread = torch.arange(0, head // 2, 2, dtype=torch.float32, device=self.device) / (head // 2)
        self.frequencies = 1.0 / (10000.0**spread)
        self.layers = []
        set_aside(tower)
        for block in tower.blocks:
            into, into_bias = fuse([block.mlp.gate_proj, block.mlp.up_proj], self.device, PAD)
            self.layers.append((block, into, into_bias, widen(block.mlp.down_proj, self.device, PAD)))
        bring_back(tower, self.device)

    @torch.inference_mode()
    def encode(
        self, images: Sequence[NDArray[np.uint8]], starts: Sequence[int], out: Tensor, slice_layers: int
    ) -> Iterator[None]:
        """Write the tokens of image i to the rows of `out` from starts[i] on; yield between slices of layers.

        On a GPU a slice is only queued. Memory: about 60 KiB a patch, see memory_plan.py.
        """
        cells = [(image.shape[0] // CELL, image.shape[1] // CELL) for image in images]
        layouts = [layout(high, wide, self.config.window_size // CELL) for high, wide in cells]
        sizes = [high * wide for high, wide in cells]
        offsets = np.cumsum([0, *sizes[:-1]])
        order = np.concatenate([one.order + offset for one, offset in zip(layouts, offsets, strict=True)])
        places = np.concatenate([one.order + start for one, start in zip(layouts, starts, strict=True)])
        windows = np.concatenate([one.windows for one in layouts])
        whole = np.array(sizes) * MERGE**2
        packed = [order, places, *(np.concatenate([getattr(x, k) for x in layouts]) for k in ("rows", "columns"))]
        for lengths in (windows, whole):
            packed += [np.concatenate([[0], np.cumsum(lengths)]), lengths]
        numbers = to_device(np.concatenate(packed).astype(np.int32), self.device).split([len(x) for x in packed])
        order_, places_ = numbers[0].long(), numbers[1].long()
        rows, columns = numbers[2].float(), numbers[3].float()
        in_window, in_page = (
            Ranges(starts, starts, lengths, int(longest), int(longest))
            for starts, lengths, longest in ((*numbers[4:6], windows.max()), (*numbers[6:8], whole.max()))
        )
        angles = torch.cat([rows[:, None] * self.frequencies, columns[:, None] * self.frequencies], 1)
        cos, sin = angles.cos(), angles.sin()

        pixels = torch.cat([patches(to_device(i, self.device), self.mean, self.std).to(self.dtype) for i in images])
        pixels = pixels.view(len(order), -1)[order_].view(len(order) * MERGE**2, -1)
        x = F.linear(pixels, self.tower.patch_embed.proj.weight.flatten(1))
        del pixels
        for i, (block, into, into_bias, out_of) in enumerate(self.layers):
            ranges = in_page if i in self.config.fullatt_block_indexes else in_window
            self._layer(x, block, into, into_bias, out_of, ranges, cos, sin)
            if (i + 1) % slice_layers == 0:
                yield
        merger = self.tower.merger
        x = self.ops.rms_norm(x, merger.ln_q.weight, merger.ln_q.variance_epsilon).view(len(order), -1)
        out[places_] = merger.mlp(x)
        yield

    def _layer(self, x: Tensor, block: Any, into: Tensor, into_bias: Tensor | None, out_of: Tensor,
               ranges: Ranges, cos: Tensor, sin: Tensor) -> None:  # fmt: skip
        """One block, in place on x [patches, width]."""
        heads, ops = self.config.num_heads, self.ops
        h = ops.rms_norm(x, block.norm1.weight, block.norm1.variance_epsilon)
        qkv = block.attn.qkv(h).view(len(x), 3 * heads, -1)
        ops.rotate(qkv[:, : 2 * heads], cos, sin)
        q, k, v = qkv.split(heads, 1)
        seen = ops.choice.varlen(q, k, v, ranges, False, self.scale)[0].reshape(len(x), -1)
        h = ops.add_rms_norm(x, block.attn.proj(seen), block.norm2.weight, block.norm2.variance_epsilon)
        x += F.linear(ops.silu_mul(F.linear(h, into, into_bias)), out_of, block.mlp.down_proj.bias)


def check_shape(config: Any) -> str:
    """The first unsupported value of a vision config, or ""."""
    if (config.patch_size, config.spatial_merge_size, config.temporal_patch_size) != (PATCH, MERGE, 2):
        return f"patches of {config.patch_size} px in groups of {config.spatial_merge_size}² are not supported"
    return "" if config.hidden_act == "silu" else f"the activation {config.hidden_act} is not supported"
