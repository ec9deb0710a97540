"""The model on the device: kernels, language model, vision encoder, KV cache, memory plan."""
