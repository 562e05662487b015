"""What `demo.py` shows: questions about one picture, with and without its evidence."""
