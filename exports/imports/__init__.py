"""Import generators that were trained elsewhere: ONNX, PyTorch state dicts, Keras. Nothing of a file is run as code."""
