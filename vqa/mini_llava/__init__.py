"""The composed model: a vision tower, a connector and any causal language model, put together by a config."""
