"""Chooses the kernels that work on this machine; each is tested on a small problem first."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .attention import FULL, Choice, Item, Ranges, Varlen, flash_attn, merged_attention, sdpa, torch_flash
from .torch_ops import Plain


def choose(device: torch.device, dtype: torch.dtype, head_sizes: Sequence[int]) -> Choice:
    """The first kernel that agrees with the reference on a small ragged problem for every head size."""
    reasons: list[str] = []
    if device.type == "cuda" and dtype in (torch.bfloat16, torch.float16):
        for name, varlen in (("flash-attn", flash_attn), ("torch-flash", torch_flash)):
            reason = next((why for size in head_sizes if (why := _fault(varlen, device, dtype, size))), "")
            if not reason:
                return Choice(name, varlen, "; ".join(reasons))
            reasons.append(f"{name}: {reason}")
    else:
        reasons.append(f"flash kernels: not for {dtype} on {device.type}".replace("torch.", ""))
    return Choice("sdpa", sdpa, "; ".join(reasons))


def probe_problem(device: torch.device, dtype: torch.dtype, head_size: int) -> tuple[Tensor, Tensor, Tensor, Ranges]:
    """Nine tokens in three ranges (one of them empty) against keys out of order, two query heads a key head."""
    dice = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(*shape, head_size, generator=dice).to(device, dtype) for shape in ((9, 4), (64, 2), (64, 2)))
    starts, keys, lengths = (
        torch.tensor(x, dtype=torch.int32, device=device) for x in ((0, 5, 5, 9), (40, 0, 3, 64), (20, 0, 30))
    )
    return q, k, v, Ranges(starts, keys, lengths, 16, 64)


def _fault(varlen: Varlen, device: torch.device, dtype: torch.dtype, head_size: int) -> str:
    q, k, v, ranges = probe_problem(device, dtype, head_size)
    for causal in (True, False):
        try:
            got = varlen(q, k, v, ranges, causal, head_size**-0.5)
            torch.cuda.synchronize(device)
        except ImportError:
            return "not installed"
        except (RuntimeError, TypeError, AttributeError) as error:  # no binary for this GPU, another signature
            return str(error).strip().split("\n")[0][:120]
        want = sdpa(q, k, v, ranges, causal, head_size**-0.5)
        if not all(torch.allclose(a.float(), b.float(), atol=2e-2) for a, b in zip(got, want, strict=True)):
            return "disagrees with the reference"
    return ""


def pick(device: torch.device, dtype: torch.dtype, vision_head: int, text_head: int) -> tuple[Plain, str]:
    """The operations to use, and one line that names them and the reasons against others."""
    choice = choose(device, dtype, (vision_head, text_head))
    passed = [choice.passed_over] if choice.passed_over else []
    plain = Plain(choice)
    if device.type == "cuda":
        fault = ""
        try:
            from .triton_ops import Fused

            fused = Fused(choice)
            fault = _fused_fault(fused, plain, device, dtype, text_head)
        except ImportError:
            fault = "not installed"
        except Exception as error:  # noqa: BLE001  Triton's errors have no common class; the reason is logged
            fault = f"{type(error).__name__}: {error}".split("\n")[0][:160]
        if not fault:
            return fused, f"attention: triton for steps, {choice.name} for pictures" + _because(passed)
        passed.append(f"triton: {fault}")
    return plain, f"attention: {choice.name}" + _because(passed)


def _because(passed: list[str]) -> str:
    return f" (passed over: {'; '.join(passed)})" if passed else ""


def _fused_fault(fused: Plain, plain: Plain, device: torch.device, dtype: torch.dtype, size: int) -> str:
    """Compare every fused operation with the plain one."""
    from .model_runner import AttentionWork

    dice = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=dice).to(device, dtype)

    x, weight, more = some(9, 48), some(48), some(9, 48)
    pairs = [(fused.rms_norm(x, weight, 1e-6), plain.rms_norm(x, weight, 1e-6))]
    one, two = x.clone(), x.clone()
    pairs += [(fused.add_rms_norm(one, more, weight, 1e-6), plain.add_rms_norm(two, more, weight, 1e-6)), (one, two)]
    pairs.append((fused.silu_mul(x), plain.silu_mul(x)))
    qkv, angles = some(9, 12, size), torch.randn(9, size // 2, generator=dice).to(device)
    rows = torch.tensor([3, 4, 5, 6, 7, 8, 40, 41, 42], dtype=torch.int32, device=device)
    pool = some(2, 2, 64, size)
    results = []
    items = [Item(0, 6, 10, 30, FULL, 0), Item(0, 6, 3, 6, 0, 1), Item(6, 2, 20, 5, FULL, 0), Item(6, 2, 30, 12, 10, 1),
             Item(8, 1, 42, 1, 0, 0)]  # fmt: skip
    for ops in (fused, plain):
        kv, mine = pool.clone(), qkv.clone()
        q = ops.rotate_store(mine, angles.cos(), angles.sin(), rows, kv[0], kv[1])
        work: Any = items
        if ops is fused:
            tables = [
                torch.tensor([i for i in items if (i.tokens > 2) == long], dtype=torch.int32, device=device)
                for long in (False, True)
            ]
            first = torch.arange(0, 18, 2, dtype=torch.int32, device=device)
            counts = torch.tensor([2] * 8 + [1], dtype=torch.int32, device=device)
            parts = torch.zeros(18, 8, size, device=device)
            work = AttentionWork(tables[0], tables[1], first, counts, parts, parts[:, :, 0].clone())
        results.append((q, kv, ops.attend(q, kv[0], kv[1], work, size**-0.5)))
    pairs += list(zip(*results, strict=True))
    keys, values = results[1][1].transpose(1, 2).float()
    wide = merged_attention(results[1][0].float(), keys, values, items, size**-0.5)
    pairs.append((results[0][2], wide.flatten(1)))
    logits, allowed = some(4, 5000), torch.randint(-(2**31), 2**31 - 1, (4, 157), generator=dice, dtype=torch.int64)
    allowed = allowed.int().to(device)
    for constrained in (True, False):
        got, want = (ops.sample(logits, allowed, constrained) for ops in (fused, plain))
        pairs += [(got[0], want[0]), (got[1:].view(torch.float32), want[1:].view(torch.float32))]
    near = 2e-5 if dtype == torch.float32 else 3e-2
    for i, (a, b) in enumerate(pairs):
        if not torch.allclose(a.float(), b.float(), atol=near, rtol=near):
            return f"operation {i} disagrees with the reference"
    return ""
