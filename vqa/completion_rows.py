"""log p of completions, with what a group's completions begin with computed once.

All completions of a prompt have its image and its question in common. As branches of one row
(vqa/branches.py) they cost that prefix once, in the forward and in the backward pass, and log probabilities
and gradients are those of a row for each.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from vqa.branches import BranchedRow, attend_to_branches, batch_rows
from vqa.encoding import PromptEncoder, to_device
from vqa.head import log_probs_and_entropies


@dataclass
class CompletionGroup:
    """One prompt and completions of it.

    Attributes:
        prompt: token ids, with the image placeholders expanded.
        images: tensors of its images, as `EncodedPrompt.image_inputs`.
        members: rows of the batch that the completions come from.
        completions: their token ids.
    """

    prompt: list[int]
    images: dict[str, torch.Tensor]
    members: list[int] = field(default_factory=list)
    completions: list[list[int]] = field(default_factory=list)

    def is_of(self, prompt: list[int], images: dict[str, torch.Tensor]) -> bool:
        """Whether a row belongs here: the same words about the same pixels."""
        return (
            prompt == self.prompt
            and images.keys() == self.images.keys()
            and all(torch.equal(tensor, self.images[name]) for name, tensor in images.items())
        )

    def row(self) -> BranchedRow:
        """The completions as branches; the prompt's last token predicts their first, so it stands in each."""
        branches = [(self.prompt[-1:], completion) for completion in self.completions]
        return BranchedRow(self.prompt[:-1], branches, self.images)


def group_completions(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    images: list[dict[str, torch.Tensor]],
) -> list[CompletionGroup]:
    """Rows of a trainer's batch by their prompts, in the order in which these come up.

    Args:
        input_ids, attention_mask: (rows, prompt and completion), prompts padded on the left, completions on
            the right to `completion_length`.
        images: of each row its image tensors; {} without images.
    """
    start = input_ids.shape[1] - completion_length
    groups: list[CompletionGroup] = []
    for index, (ids, mask) in enumerate(zip(input_ids.tolist(), attention_mask.tolist(), strict=True)):
        kept = [token for token, keep in zip(ids, mask, strict=True) if keep]
        count = sum(mask[:start])
        prompt, completion = kept[:count], kept[count:]
        group = next((group for group in groups if group.is_of(prompt, images[index])), None)
        if group is None:
            groups.append(group := CompletionGroup(prompt, images[index]))
        group.members.append(index)
        group.completions.append(completion)
    return groups


def completion_log_probs(
    model: nn.Module,
    policy: nn.Module,
    encoder: PromptEncoder,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_length: int,
    temperature: float,
    images: list[dict[str, torch.Tensor]],
    batch_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of every completion's tokens under the tempered distribution, and the entropy of that.

    Args:
        model: as wrapped for training.
        policy: the same without wrappers.
        input_ids, attention_mask, completion_length, images: as for `group_completions`.
        batch_size: rows a forward, so that processes with as many rows run as many; None: all.

    Returns:
        two of (rows, completion_length), in nats, 0 behind a completion's end; the first has gradients.
    """
    size = batch_size or len(input_ids)
    parts = [
        _log_probs(
            *(model, policy, encoder, input_ids[first : first + size], attention_mask[first : first + size]),
            *(completion_length, temperature, images[first : first + size]),
        )
        for first in range(0, len(input_ids), size)
    ]
    log_probs, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
    return log_probs, entropies


def _log_probs(
    model, policy, encoder, input_ids, attention_mask, completion_length, temperature, images
) -> tuple[torch.Tensor, torch.Tensor]:
    groups = group_completions(input_ids, attention_mask, completion_length, images)
    batch = to_device(batch_rows(encoder, [group.row() for group in groups]), input_ids.device)
    log_probs, entropies = log_probs_and_entropies(
        model, policy.get_output_embeddings(), attend_to_branches(policy, batch), temperature
    )
    places = [
        member * completion_length + step
        for group in groups
        for member, completion in zip(group.members, group.completions, strict=True)
        for step in range(len(completion))
    ]
    index = torch.tensor(places, device=input_ids.device, dtype=torch.long)
    shape = (len(input_ids), completion_length)
    empty = torch.zeros(shape, device=input_ids.device).flatten()
    return (
        empty.index_copy(0, index, log_probs).view(shape),
        empty.index_copy(0, index, entropies.detach()).view(shape),
    )


def images_of_rows(
    count: int,
    num_images: list[int] | None,
    pixel_values: torch.Tensor | None,
    image_grid_thw: torch.Tensor | None = None,
    pixel_attention_mask: torch.Tensor | None = None,
    image_sizes: torch.Tensor | None = None,
) -> list[dict[str, torch.Tensor]]:
    """A batch's image tensors divided among its rows, as TRL joins them.

    Args:
        count: rows.
        num_images: of each row.
    """
    if pixel_values is None or num_images is None:
        return [{} for _ in range(count)]
    if image_grid_thw is not None:  # patches of all images, one after the other
        grids = image_grid_thw.split(num_images)
        pixels = pixel_values.split([int(grid.prod(-1).sum()) for grid in grids])
        rows = [
            {"pixel_values": values, "image_grid_thw": grid}
            for values, grid in zip(pixels, grids, strict=True)
        ]
    elif pixel_attention_mask is not None or pixel_values.shape[0] != sum(num_images):  # tiles of each row
        rows = [{"pixel_values": values} for values in pixel_values.split(1)]
        if pixel_attention_mask is not None:
            for row, mask in zip(rows, pixel_attention_mask.split(1), strict=True):
                row["pixel_attention_mask"] = mask
    else:
        rows = [{"pixel_values": values} for values in pixel_values.split(num_images)]
        if image_sizes is not None:
            for row, sizes in zip(rows, image_sizes.split(num_images), strict=True):
                row["image_sizes"] = sizes
    return [row if images else {} for row, images in zip(rows, num_images, strict=True)]
