"""Where training images come from, one file a kind of source; ``gan_serve.training.data`` opens them all."""
