"""Judging: pure functions on plain Python values, no torch.

`matching` decides one answer, `numbers` reads quantities; `text`, `grounding` and `selective` are
corpus metrics; `summary` puts them into the form of metrics.json.
"""
