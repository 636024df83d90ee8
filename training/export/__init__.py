"""A fitted estimator becomes an ONNX graph, and the graph a program for one row."""
