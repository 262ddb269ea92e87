"""The most memory of the GPU that this process has used."""

from carcls.backend.framework import keras


def peak_gpu_bytes() -> int | None:
    """Peak of the framework's allocator on the first GPU, in bytes; None without one, or if it does not tell."""
    if keras.backend.backend() == "jax":
        import jax  # noqa: PLC0415 (only where it is the backend)

        stats = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
        peak = stats.get("peak_bytes_in_use")
        return None if peak is None else int(peak)
    import tensorflow as tf  # noqa: PLC0415 (only where it is the backend)

    if not tf.config.list_logical_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
