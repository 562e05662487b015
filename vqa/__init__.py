"""Everything the scripts share: records, prompts, judging, models. No module here imports a script or a reward."""
