"""Find models in the package, on disk and on the Hugging Face Hub."""
