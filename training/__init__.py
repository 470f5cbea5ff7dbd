"""Train GANs from images: ``gan-serve train --recipe dcgan-28 --data fashion-mnist --run-dir runs/fashion``.

Needs the extra ``gan-serve[train]``. Nothing here is imported by the runtime; this package imports no torch by itself,
so that its commands can be listed where torch is not installed.
"""

if __name__ != "gan_serve.training":
    raise ImportError("import gan_serve.training: the folder training/ of the checkout is installed under that name.")
