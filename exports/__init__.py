"""Turn a training run into a checkpoint: ``gan-serve export RUN --out DIR``. Needs the extra ``gan-serve[train]``."""
