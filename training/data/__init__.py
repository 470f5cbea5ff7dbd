"""Load training images: a file for each kind of source; ``gan_serve.training.data.load`` reads all kinds."""
