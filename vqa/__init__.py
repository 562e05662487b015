"""What the scripts share: records, prompts, judging, models. Nothing here imports a script or a reward."""
