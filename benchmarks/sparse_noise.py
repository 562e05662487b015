"""How far a sparse teacher's targets lie from the truth, for teachers that are sure and that are not.

Of one distribution over 32,000 tokens the summed variance of the targets: 50 draws with replacement against
12 tokens by Gumbel-top-K with Horvitz-Thompson weights.

    python -m benchmarks.sparse_noise
"""

import torch

from vqa.sparse_logits import DEFAULT_SIZES, sparsify

VOCABULARY, DRAWS = 32_000, 3_000


def main() -> None:
    """Print a table in Markdown."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(VOCABULARY, generator=generator)
    sure = logits.clone()
    sure[0] = 14.5
    print("| likeliest token | rs, 50 draws: tokens, variance | gumbel_ht, 12 tokens: variance | ratio |")
    print("|---|---|---|---|")
    for teacher in (sure, logits * 3, logits):
        truth = teacher.softmax(-1)
        kept, variance = {}, {}
        for method in ("rs", "gumbel_ht"):
            ids, weights = sparsify(
                teacher.expand(DRAWS, -1), method, DEFAULT_SIZES[method], generator=generator
            )
            kept[method] = (weights > 0).sum().item() / DRAWS
            # |w - p|^2 of a draw, without a tensor of the vocabulary's size for each.
            p = truth[ids] * (weights > 0)
            missed = truth.square().sum() - p.square().sum(-1)
            variance[method] = ((weights - p).square().sum(-1) + missed).mean().item()
        row = f"{kept['rs']:.1f}, {variance['rs']:.1e} | {variance['gumbel_ht']:.1e}"
        print(f"| {truth.max():.2f} | {row} | {variance['rs'] / variance['gumbel_ht']:.2f} |")


if __name__ == "__main__":
    main()
