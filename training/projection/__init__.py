"""Find the latents whose images are nearest to given pictures (GAN inversion, also called projection)."""
