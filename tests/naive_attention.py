"""The two attention statistics written out loop by loop, one input at a time, straight from the definitions.

Only tests use this: it is the truth that the vectorised, streaming and hooked versions are held against.
"""

import math

import numpy as np


def kl_paper(prompted, plain, real, special, k):
    """KL of one input and one head. *prompted* (k+n, k+n), *plain* (n, n), *real*, *special* (n,)."""
    n = len(real)
    p_sum, m_sum = [], []
    for j in range(n):
        if special[j] or not real[j]:
            continue
        p_received = m_received = 0.0
        for i in range(n):
            if real[i]:
                p_received += float(prompted[k + i, k + j])
                m_received += float(plain[i, j])
        p_sum.append(p_received)
        m_sum.append(m_received)
    p_total = sum(math.exp(s) for s in p_sum)
    m_total = sum(math.exp(s) for s in m_sum)
    kl = 0.0
    for p_j, m_j in zip(p_sum, m_sum, strict=True):
        p, m = math.exp(p_j) / p_total or 1e-20, math.exp(m_j) / m_total or 1e-20
        kl += p * math.log(p / m)
    return kl


def kl_per_query(prompted, plain, real, special, k, causal):
    """The per-query reading for one input and one head."""
    n = len(real)
    divergences = []
    for i in range(n):
        if not real[i]:
            continue
        keys = [j for j in range(n) if real[j] and not special[j] and (j <= i or not causal)]
        if not keys:
            continue
        p_row = [float(prompted[k + i, k + j]) for j in keys]
        m_row = [float(plain[i, j]) for j in keys]
        kl = 0.0
        for p_ij, m_ij in zip(p_row, m_row, strict=True):
            p, m = p_ij / sum(p_row) or 1e-20, m_ij / sum(m_row) or 1e-20
            kl += p * math.log(p / m)
        divergences.append(kl)
    return sum(divergences) / len(divergences)


def variability(patterns, first_n, causal):
    """Eq. 3 for one head. *patterns*: a list of (n, n) arrays, each of an input's real tokens only."""
    patterns = [a for a in patterns if a.shape[0] >= first_n]
    deviation = mass = 0.0
    for i in range(1, first_n):
        for j in range(1, i + 1 if causal else first_n):
            mean = sum(float(a[i, j]) for a in patterns) / len(patterns)
            for a in patterns:
                deviation += abs(float(a[i, j]) - mean)
                mass += float(a[i, j])
    return deviation / (2 * mass)


def random_pattern(generator, real, k=0, causal=True, heads=2, sharpness=2.0):
    """Softmax attention over random scores for one padded row: (heads, k+n, k+n), fp32."""
    length = k + len(real)
    scores = generator.normal(size=(heads, length, length)) * sharpness
    allowed = np.concatenate([np.ones(k, bool), real])[None, :] & np.ones((length, 1), bool)
    if causal:
        allowed = allowed & np.tril(np.ones((length, length), bool))
    scores = np.where(allowed, scores, np.finfo(np.float32).min)  # as Hugging Face masks
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
