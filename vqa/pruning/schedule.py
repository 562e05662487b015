"""How sparsity rises while a model trains."""


def cubic_sparsity(step: int, last_step: int, final: float) -> float:
    """Share that is pruned after `step` optimizer steps: fast at first, while much is superfluous.

    s_t = s_f (1 - (1 - t / T)^3) with s_0 = 0: Zhu & Gupta 2017 (arXiv:1710.01878), equation 1.

    Args:
        step: optimizer steps done, from 0.
        last_step: T, from which on the share is final; 0: from the start.
        final: s_f, from 0 to 1.
    """
    if step >= last_step:
        return final
    return final * (1 - (1 - step / last_step) ** 3)
