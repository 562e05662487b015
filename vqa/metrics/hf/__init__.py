"""The metrics as modules of the HF package `evaluate`: NAME/NAME.py, loaded by path, with no hub.

    import evaluate
    metric = evaluate.load("path/to/vqa/metrics/hf/anls")
    metric.compute(predictions=["deep learning"], references=[["deep learnin", "machine learning"]])

`vqa` must be installed. Not from the root of the project, where `evaluate.py` has the package's name. A value
that cannot be had (no record it is taken over) is None.
"""
