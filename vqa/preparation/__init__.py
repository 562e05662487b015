"""The commands of prepare_data.py, one module each."""
