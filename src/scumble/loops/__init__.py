"""The loops: short, without hyper-parameters of their own, each written once."""
