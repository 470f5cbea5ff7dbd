"""Load training images: one file a kind of source; ``gan_serve.training.data.load`` opens them all."""
