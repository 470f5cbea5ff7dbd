"""Train networks that translate images: super-resolution, Pix2Pix and CycleGAN.

settings.py   the settings of a run; recipes srgan, pix2pix and cyclegan hold values for them
pairs.py      inputs and targets, from folders or made from one set of images
networks.py   translators; discriminators.py judges patches, or whole images
losses.py     the losses beside the adversarial one, and the perceptual distance in features of extractors
step.py       one step of training; train.py a whole run, in the loop that generators have
"""
