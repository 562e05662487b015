"""The document teacher, a step a module: pages read by OCR, passages found, answers read and grounded."""
