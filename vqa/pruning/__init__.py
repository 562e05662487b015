"""Pruning while a model trains: masks on single weights, or whole structures that are cut out at the end.

arguments   the options of every script that prunes, and what is refused
schedule    how sparsity rises over the steps
callback    prunes on that schedule, keeps masks over optimizer steps and checkpoints
magnitude   masks on single weights: unstructured, and two of every four
families    which structures each model family's config can express
importance  how much a structure matters: magnitude, or activations
structured  which channels, heads and layers go, on the callback's schedule
cut         a masked model as a smaller checkpoint
widths      the widths that meet a number of parameters
plan        parameters, bytes and FLOPs before and after, from a config alone
training    what a training script does about all this, before, while and after it trains
"""
