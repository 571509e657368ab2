"""One cell's result on disk: what it holds, how it is identified, where it lies."""
