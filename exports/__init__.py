"""Turn a training run into a checkpoint: ``gan-serve export RUN --out DIR``. Needs the extra ``gan-serve[train]``."""

if __name__ != "gan_serve.exports":
    raise ImportError("import gan_serve.exports: the folder exports/ of the checkout is installed under that name.")
