"""Images and records made from nothing."""
