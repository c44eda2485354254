"""Numbers of 16 and 32 bits: which the hardware multiplies fast, and how exact a calculation must be."""

import torch


def autocast(device: str | torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 autocast where ``device`` multiplies bfloat16 in hardware, otherwise a context that does nothing."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled and has_bfloat16(kind))


def exact(precision: str):
    """In "fp32" cuDNN may not round its inputs to TF32; in both it chooses the fastest algorithm for a fixed size."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=precision != "fp32")


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: CUDA from Ampere on, x86 CPUs with AVX512-BF16 or AMX."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512" and _cpu_bfloat16()


def _cpu_bfloat16() -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return torch.cpu._is_avx512_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
